"""A lease under faults, small enough to count its orderings by hand.

A session is to get one child. The owner takes the lease (1) and makes the child (2). A contender of another process waits until the
lease must have expired (3), looks for a child (4), and makes one if there is none (5).

Without faults the owner is done before the contender wakes: 1 ordering. `crash=1@owner`: the owner dies before (1) or before (2), or not
at all: 3 orderings. A child is made in each, so a crash alone does no harm.

`stall=1@owner`: the owner stops before (1) or before (2), until the one instant that is pending, when the contender wakes. From there
on (2) meets (4) and (5): before (4), the contender finds a child; between (4) and (5), or after (5), there are two. That is 3 orderings
for each of the two places, and 1 without a stall: 7. With `lease` there are two children in 4 of them. With `conditional` (2) and (5)
make a child only if there is none, in one step: the same 7 orderings, and one child in all of them.

A lease keeps work from being done twice; it does not keep the invariant. The conditional write does.
"""

import time

import simharness

LEASE_SECONDS = 60


@simharness.scenario(
    guard=["lease", "conditional"],
    faults=[None, "crash=1@owner", "stall=1@owner"],
    expect={("lease", "stall=1@owner"): "violated"},
)
def one_child(world, guard):
    """The contender waits out the lease; the owner may be dead by then, or late."""
    lease = world.shared(None, "lease")
    children = world.shared(0, "children")

    def make_child():
        if guard == "conditional":
            children.compare_and_set(0, 1)
        else:
            children.add(1)

    def own():
        lease.set("owner")
        make_child()

    def contend():
        time.sleep(LEASE_SECONDS + 10)
        if children.get() == 0:
            make_child()

    world.actor("owner", own, process="owner")
    world.actor("contender", contend, process="contender")

    @world.at_end
    def one_compression_child():
        world.outcome(children.get())
        assert children.get() == 1, f"the session has {children.get()} children"


@simharness.scenario(recovery=[False, True], faults=[None, "crash=1"], expect={(False, "crash=1"): "violated"})
def given_back(world, recovery):
    """A worker takes a lease (1), works (2) and gives the lease back (3); what its death leaves behind stays, unless a restart clears it.

    It dies before (1), (2) or (3) or not at all: 4 orderings, in 2 of which the lease stays. With `recovery` the restarted worker makes
    one step, which nobody meets: 4 orderings, and the lease is free in all.
    """
    lease = world.shared(None, "lease")

    def work():
        try:
            lease.set("worker")
            world.step("work")
        finally:
            lease.set(None)

    world.actor("worker", work, process="worker")
    if recovery:
        world.on_restart("worker", lease.set, None)

    @world.at_end
    def lease_is_free():
        assert lease.get() is None, f"{lease.get()} still has the lease"
