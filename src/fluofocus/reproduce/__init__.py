"""Papers' experiments, re-enacted with simulated specimens; the table `REPRODUCTIONS`.

A reproduction is one file that defines a `Reproduction`, and one line here.
"""

from fluofocus.reproduce import deep_z, deep_z_plus, w_net, wfcon_net
from fluofocus.reproduce.reproduction import Reproduction, run_reproduction

REPRODUCTIONS: dict[str, Reproduction] = {
    each.name: each
    for each in (
        deep_z.REPRODUCTION,
        deep_z_plus.REPRODUCTION,
        w_net.REPRODUCTION,
        wfcon_net.REPRODUCTION,
    )
}

__all__ = ["REPRODUCTIONS", "Reproduction", "run_reproduction"]
