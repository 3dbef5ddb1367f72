"""The file system and the environment of processes: system calls as operations."""
