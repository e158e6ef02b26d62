//! `dstyx kms statement`: a release statement, as any third party can check it.

use std::path::Path;
use std::process::ExitCode;

use attestation::release_statement::{ReleaseRules, judge_release};
use protocol::digest::Sha256Digest;
use protocol::kms::{MAX_SIGNED_RELEASE_BYTES, ReleaseStatement, SignedRelease};
use serde_json::json;

use crate::args::KmsStatement;
use crate::clock::now_secs;
use crate::failure::{Hint as _, Outcome};
use crate::files;
use crate::output::{Output, named};
use crate::report::text::time;

/// Verifies a file with what a guest showed.
pub fn run(options: &KmsStatement, output: &Output) -> Outcome<ExitCode> {
    let KmsStatement { file, kms_id, minimum_epoch } = options;
    let key_provider_id = Sha256Digest::from_hex(kms_id)
        .hint("--kms-id", "give the key_provider_id of the KMS that you trust")?;
    let signed = read(file)?;
    let rules = ReleaseRules { key_provider_id, minimum_epoch: *minimum_epoch };
    let verified = judge_release(&signed, &rules, now_secs()?).hint(
        file.display(),
        "check --kms-id, or ask the guest for a new one: `GET /release` of its public port",
    )?;
    let stated = verified.statement();
    output.result(&json!({ "verified": true, "statement": stated }), || shown(stated));
    Ok(ExitCode::SUCCESS)
}

/// A file may end with a line's end, which the statement has not.
fn read(file: &Path) -> Outcome<SignedRelease> {
    let text = files::read_text(file, MAX_SIGNED_RELEASE_BYTES as u64 + 1)?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    SignedRelease::parse(text.as_bytes())
        .hint(file.display(), "take it as the guest gives it: `GET /release` of its public port")
}

fn shown(stated: &ReleaseStatement) -> String {
    let instance = stated.instance_id.map_or_else(|| "none".to_owned(), |id| id.to_string());
    let released = stated.released;
    let rows = [
        ("app", stated.app_id.to_string()),
        ("instance", instance),
        ("measured file", stated.compose_hash.to_string()),
        ("image", stated.os_image_hash.to_string()),
        ("agent's key", stated.agent_key.to_string()),
        ("open counter", stated.open_counter.to_string()),
        ("policy", format!("version {}", stated.policy_version)),
        ("keys released", format!("entry {}, {}", released.entry, time(released.time_secs))),
        ("holds", format!("{} to {}", time(stated.issued_secs), time(stated.not_after_secs))),
    ];
    named(rows)
        + "the KMS signed that this guest has these keys; that you speak with it, its own evidence proves\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_with_or_without_a_lines_end_and_as_nothing_else() {
        let vector = include_str!("../../../../tests/vectors/attestation/kms-release.json");
        let vector: serde_json::Value = serde_json::from_str(vector).unwrap();
        let text = vector["release"].as_str().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("release.json");
        for written in [text.to_owned(), format!("{text}\n")] {
            std::fs::write(&file, written).unwrap();
            assert_eq!(read(&file).unwrap().to_json(), text);
        }
        std::fs::write(&file, format!(" {text}")).unwrap();
        assert!(read(&file).is_err());
        // The vector is of another time than now.
        std::fs::write(&file, text).unwrap();
        let kms_id = vector["key_provider_id"].as_str().unwrap().to_owned();
        let options = KmsStatement { file, kms_id, minimum_epoch: 1 };
        let refused = run(&options, &Output::new(true)).unwrap_err().to_string();
        assert!(refused.contains("and now is"), "{refused}");
        let other = KmsStatement { kms_id: "00".repeat(32), ..options };
        let refused = run(&other, &Output::new(true)).unwrap_err().to_string();
        assert!(refused.contains("the key provider is"), "{refused}");
    }
}
