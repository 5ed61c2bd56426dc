"""A clinic out of nothing, and patients at every step of the path: for the demo, the rehearsal and the tests."""

from followup.demo.clinic import complete_products, demo_logins, found_clinic, staff_member, stock_cells
from followup.demo.patients import Step, seed

__all__ = [
    "Step",
    "complete_products",
    "demo_logins",
    "found_clinic",
    "seed",
    "staff_member",
    "stock_cells",
]
