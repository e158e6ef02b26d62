//! `dstyx kms epoch`: another root, whose keys are ours or those of a dstack KMS.

use std::path::Path;
use std::process::ExitCode;

use kms_rules::derivation::dstack::Roots;
use protocol::kms::{EpochKeys, NewEpochRequest, Renewal, StatusResponse};
use protocol::prpc::Empty;
use zeroize::{Zeroize as _, Zeroizing};

use super::shown;
use crate::args::{KmsAt, KmsEpoch, NewEpoch};
use crate::failure::{Failure, Hint as _, Outcome};
use crate::kms::channel::Calls as _;
use crate::kms::reached::Reached;
use crate::output::{Output, columns};
use crate::private;

/// The two root keys of a dstack KMS: of its CA, and k256.
type Scalars = [Zeroizing<[u8; 32]>; 2];

/// A scalar in hex, with a line's end.
const MAX_SCALAR_BYTES: u64 = 66;

/// Does what was asked for.
pub fn run(verb: &KmsEpoch, at: &KmsAt, output: &Output) -> Outcome<ExitCode> {
    match verb {
        KmsEpoch::List => list(at, output),
        KmsEpoch::New(options) => {
            let (renewal, scalars) = asked(options)?;
            begin(at, &renewal, scalars.as_deref(), output)
        }
        KmsEpoch::Retire { epoch, danger_lose_instances } => {
            let renewal = Renewal {
                keys: EpochKeys::None,
                retires: vec![*epoch],
                danger_loses_instances: *danger_lose_instances,
                ..Renewal::default()
            };
            begin(at, &renewal, None, output)
        }
        KmsEpoch::Certify => {
            let mut kms = Reached::at(at)?;
            let status: StatusResponse = kms.connection.call("Status", &Empty {})?;
            certify(&mut kms, &status, output)
        }
    }
}

fn list(at: &KmsAt, output: &Output) -> Outcome<ExitCode> {
    let mut kms = Reached::at(at)?;
    let status: StatusResponse = kms.connection.call("Status", &Empty {})?;
    output.result(&status.epochs, || {
        let row = |epoch: &protocol::kms::EpochStatus| {
            let instances = format!("{} instances", epoch.instances);
            vec![format!("epoch {}", epoch.epoch), format!("{} keys", epoch.keys), instances]
        };
        columns(&status.epochs.iter().map(row).collect::<Vec<_>>())
    });
    Ok(ExitCode::SUCCESS)
}

/// The renewal, and the two scalars of a dstack KMS.
fn asked(options: &NewEpoch) -> Outcome<(Renewal, Option<Box<Scalars>>)> {
    let (Some(ca), Some(k256)) = (&options.dstack_ca, &options.dstack_k256) else {
        let keys = if options.shares_only { EpochKeys::None } else { EpochKeys::Dstyx };
        return Ok((Renewal { keys, ..Renewal::default() }, None));
    };
    let scalars = [scalar(ca)?, scalar(k256)?];
    let roots = Roots::new(&scalars[0], &scalars[1])
        .hint("the roots of the dstack KMS", "give the scalars of its two root keys")?;
    let dstack = Some(roots.digest());
    let renewal = Renewal { keys: EpochKeys::Dstack, dstack, ..Renewal::default() };
    Ok((renewal, Some(Box::new(scalars))))
}

/// A secret of 32 bytes, as it is or in hex.
fn scalar(file: &Path) -> Outcome<Zeroizing<[u8; 32]>> {
    const HINT: &str = "it holds 32 bytes, or 64 hex digits";
    let missing = || Failure::new(format!("{}: there is no such file", file.display()), HINT);
    let bytes = private::read(file, MAX_SCALAR_BYTES)?.ok_or_else(missing)?;
    let mut scalar = Zeroizing::new([0; 32]);
    if bytes.len() == scalar.len() {
        scalar.copy_from_slice(&bytes);
        return Ok(scalar);
    }
    hex::decode_to_slice(bytes.trim_ascii(), &mut scalar[..])
        .map_err(|_| Failure::new(format!("{}: no key", file.display()), HINT))?;
    Ok(scalar)
}

fn begin(
    at: &KmsAt,
    renewal: &Renewal,
    scalars: Option<&Scalars>,
    output: &Output,
) -> Outcome<ExitCode> {
    let mut kms = Reached::at(at)?;
    let renewal = serde_json::to_string(renewal).expect("strings and numbers serialise");
    let [ca, k256] =
        scalars.map_or([Vec::new(), Vec::new()], |[ca, k256]| [ca.to_vec(), k256.to_vec()]);
    let mut request = NewEpochRequest { renewal, dstack_ca: ca, dstack_k256: k256 };
    output.step("the KMS was verified: it makes the root of another epoch, inside its guest");
    let made: Outcome<StatusResponse> = kms.connection.call("NewEpoch", &request);
    request.dstack_ca.zeroize();
    request.dstack_k256.zeroize();
    certify(&mut kms, &made?, output)
}

fn certify(kms: &mut Reached, status: &StatusResponse, output: &Output) -> Outcome<ExitCode> {
    let say = |step: &str| output.step(step);
    let (mut ceremony, connection) = kms.ceremony(&say);
    let status = ceremony.certify_offered(connection, status)?;
    if !status.offered.is_empty() {
        output.step("the KMS waits for other owners: `dstyx kms epoch certify`");
    }
    shown(kms, &status, output);
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scalar_is_read_as_bytes_or_hex_from_a_file_of_its_user_alone() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("root-k256.key");
        assert!(scalar(&file).is_err());
        for text in [vec![7; 32], b"07".repeat(32), [&b"07".repeat(32)[..], b"\n"].concat()] {
            private::replace(&file, &text).unwrap();
            assert_eq!(*scalar(&file).unwrap(), [7; 32]);
        }
        for wrong in [vec![7; 31], b"0g".repeat(32), Vec::new()] {
            private::replace(&file, &wrong).unwrap();
            assert!(scalar(&file).is_err());
        }
        private::replace(&file, &[3; 32]).unwrap();
        let both = NewEpoch {
            dstack_ca: Some(file.clone()),
            dstack_k256: Some(file),
            ..NewEpoch::default()
        };
        let (renewal, scalars) = asked(&both).unwrap();
        let expected = Roots::new(&[3; 32], &[3; 32]).unwrap().digest();
        assert_eq!((renewal.keys, renewal.dstack), (EpochKeys::Dstack, Some(expected)));
        assert!(scalars.is_some());
        let shares = NewEpoch { shares_only: true, ..NewEpoch::default() };
        assert_eq!(asked(&shares).unwrap().0.keys, EpochKeys::None);
    }
}
