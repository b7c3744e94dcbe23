"""What others do about the same job: real servers and libraries, started on loopback and ended by their own ids."""
