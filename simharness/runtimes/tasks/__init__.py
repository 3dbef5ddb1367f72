"""What the runtimes of asynchronous libraries share: tasks are actors that share the greenlet of the actor that runs their loop."""
