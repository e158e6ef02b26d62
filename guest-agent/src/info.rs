//! The launch facts of `GET /info`.

use protocol::info::{Info, InfoRegisters};
use tee::{Tee, TeeError};

use crate::boot::Boot;

/// Reads the registers, if the app publishes them, and joins them with what was measured.
pub fn info(boot: &Boot) -> Result<Info, TeeError> {
    let registers =
        boot.app.public_tcbinfo.then(|| registers(boot.log.tee().as_ref())).transpose()?;
    Ok(Info {
        name: boot.app.name.clone(),
        app_id: boot.handover.app_id,
        instance_id: boot.handover.instance_id,
        compose_hash: boot.handover.compose_hash,
        claims: boot.handover.claims.clone(),
        registers,
    })
}

fn registers(tee: &dyn Tee) -> Result<InfoRegisters, TeeError> {
    let tee::Registers { mrtd, rtmrs: [rtmr0, rtmr1, rtmr2, rtmr3], .. } = tee.registers()?;
    Ok(InfoRegisters { mrtd, rtmr0, rtmr1, rtmr2, rtmr3 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::tests::boot;

    #[test]
    fn registers_are_shown_unless_the_app_says_no() {
        let directory = tempfile::tempdir().unwrap();
        let shown = info(&boot(directory.path(), |file| file)).unwrap();
        assert_eq!(shown.registers.unwrap().rtmr2.0, [2; 48]);
        let directory = tempfile::tempdir().unwrap();
        let hidden = boot(directory.path(), |file| {
            file.replace(r#""public_tcbinfo":true"#, r#""public_tcbinfo":false"#)
        });
        assert_eq!(info(&hidden).unwrap().registers, None);
    }
}
