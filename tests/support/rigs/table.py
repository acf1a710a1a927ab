"""All rigs by name. A spawner that ships has at least one; those whose workers may work in two ways have two."""

from collections.abc import Mapping

from tests.support.rigs.inside import ChildRig, FunctionRig
from tests.support.rigs.outside import ExternalRig, HttpRig, OperatorRig, QueueRig
from tests.support.rigs.replying import HttpReplyRig, OperatorReplyRig
from tests.support.rigs.rig import Rig

RIGS: Mapping[str, type[Rig]] = {
    "external": ExternalRig,
    "in_process": FunctionRig,
    "process": ChildRig,
    "queue": QueueRig,
    "operator": OperatorRig,
    "operator-replying": OperatorReplyRig,
    "http": HttpRig,
    "http-replying": HttpReplyRig,
}
