//! The policy of a user's KMS, edited and signed as its owner does.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tests::dstyx::User;

/// The policy that a user's KMS has, as its next version.
pub fn next_policy(user: &User, directory: &Path) -> Value {
    let file = directory.join("policy.json");
    let written = user.dstyx(["kms", "policy", "init", &file.display().to_string()]);
    assert_eq!(written.code, 0, "{written:#?}");
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

/// Changes the policy of a user's KMS.
pub fn set_policy(user: &User, directory: &Path, change: impl FnOnce(&mut Value)) {
    let mut policy = next_policy(user, directory);
    change(&mut policy);
    let [file, envelope] = ["policy.json", "policy.envelope"].map(|name| directory.join(name));
    fs::write(&file, policy.to_string()).unwrap();
    let [file, envelope] = [file, envelope].map(|path| path.display().to_string());
    for arguments in [&["sign", &file, "--out", &envelope][..], &["push", &envelope]] {
        let verbs = ["kms", "policy"].iter().chain(arguments);
        let answer = user.dstyx(verbs);
        assert_eq!(answer.code, 0, "{answer:#?}");
    }
}
