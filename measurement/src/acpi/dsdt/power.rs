//! Sleep states S3 to S5: the values for the power management control register.

use crate::acpi::aml::{Aml, int, name, package, scope};

/// The packages `_S3`, `_S4` and `_S5`, two registers and two reserved elements each.
pub(super) fn sleep_states() -> Aml {
    let state = |at, value: u64| name(at, package(4, [int(value), int(value), int(0), int(0)]));
    scope("\\", [state("_S3", 1), state("_S4", 2), state("_S5", 0)])
}
