"""What the runtimes of asynchronous libraries have in common: tasks are actors that share the greenlet of the actor that runs their loop."""
