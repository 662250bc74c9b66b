"""The control process's side of the processes it starts: fork server, pipes, the pool of workers, the registrar."""
