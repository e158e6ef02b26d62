//! Policy files of the engine `share`; a file that one names has the digest of its path. What is
//! accepted is the policy that its rules say, is shown in printable ASCII, and reads the same when
//! it is read again, with the names of the file and without them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pad_policy_file::{Compiled, Files, Names, PolicyFileError, compile, explain, to_toml};
use pad_rules::{Constraints, SharePolicy};
use protocol::digest::Sha256Digest;

fuzz_target!(|text: &str| {
    let read = match read(text) {
        Ok(read) => read,
        Err(error) => {
            assert!((1..=text.lines().count().max(1) + 1).contains(&error.line), "{error}");
            assert!(!error.hint().is_empty());
            return;
        }
    };
    let constraints = Constraints {
        input: read.policy.input_constraint.clone(),
        program: read.policy.program_constraint.clone(),
        output: read.policy.output_constraint.clone(),
    };
    assert_eq!(SharePolicy::parse(&constraints).as_ref(), Ok(&read.rules));
    for names in [&read.names, &Names::default()] {
        let shown = to_toml(&read.policy, names).expect("its rules are the engine's");
        assert!(shown.bytes().all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte)));
        let again = self::read(&shown).unwrap_or_else(|error| panic!("{error}\n{shown}"));
        assert!(again.policy == read.policy, "{shown}");
        assert!(explain(&read.policy, names).is_ok());
    }
});

/// A file of any name, with the digest of its path.
struct Paths;

impl Files for Paths {
    fn sha256(&mut self, path: &str) -> Result<Sha256Digest, String> {
        Ok(Sha256Digest::of(path.as_bytes()))
    }

    fn custodian(&mut self, path: &str) -> Result<Sha256Digest, String> {
        self.sha256(path)
    }
}

fn read(text: &str) -> Result<Compiled, PolicyFileError> {
    compile(text, &mut Paths)
}
