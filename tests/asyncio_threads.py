"""Random asyncio programs with threads, which call back, run in executors, and hand coroutines over."""

import asyncio
import random
import threading

OPERATIONS = ("pause", "kick", "thread", "future", "two_callbacks", "cancel", "coroutine")


class ThreadedProgram:
    """One or two tasks, and threads that register callbacks; only the loop's thread writes the log."""

    def __init__(self, seed):
        drawn = random.Random(seed)
        self.plans = [[drawn.choice(OPERATIONS) for _ in range(drawn.choice((1, 1, 2)))] for _ in range(drawn.choice((1, 2)))]

    def __call__(self):
        log, made, threads = [], [], []
        asyncio.run(self._main(log, made, threads))
        return log

    async def _main(self, log, made, threads):
        loop = asyncio.get_running_loop()
        made += [asyncio.create_task(self._task(i, log, made, threads, loop)) for i in range(len(self.plans))]
        await asyncio.wait(made)
        for thread in threads:
            thread.join()
        await asyncio.sleep(0)

    async def _task(self, i, log, made, threads, loop):
        async def handed_over(name):
            log.append(f"{name}begins")
            await asyncio.sleep(0)
            log.append(f"{name}ends")

        def start(call, *arguments):
            threads.append(threading.Thread(target=call, args=arguments))
            threads[-1].start()

        try:
            for k, operation in enumerate(self.plans[i]):
                name = f"{i}{k}{operation}"
                log.append(name)
                if operation == "pause":
                    await asyncio.sleep(0)
                elif operation == "kick":
                    start(loop.call_soon_threadsafe, log.append, f"{name}called")
                elif operation == "coroutine":
                    start(lambda name=name: asyncio.run_coroutine_threadsafe(handed_over(name), loop))
                elif operation == "thread":
                    await asyncio.to_thread(int)
                elif operation == "future":
                    future = loop.create_future()
                    start(loop.call_soon_threadsafe, future.set_result, 1)
                    await future
                elif operation == "two_callbacks":
                    loop.call_soon(log.append, f"{name}1")
                    loop.call_soon(log.append, f"{name}2")
                elif operation == "cancel":
                    made[(i + 1) % len(self.plans)].cancel()
        except asyncio.CancelledError:
            log.append(f"{i}X")
            raise
        log.append(f"{i}end")
