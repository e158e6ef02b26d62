//! Properties of variables: what is filled in is text, and text without variables stays as it is.

use compose::{ComposeError, ComposeFile, Environment, Inputs};
use proptest::prelude::*;

use super::service;

/// The command of a service whose one word is `word` in double quotes.
fn command(word: &str, value: &str) -> Result<String, ComposeError> {
    let quoted = word.replace('\\', "\\\\").replace('"', "\\\"");
    let environment: Environment = [("V".to_owned(), value.to_owned())].into_iter().collect();
    let inputs = Inputs { environment: &environment, ..Inputs::default() };
    let file =
        ComposeFile::read(service(&format!("    command: [\"{quoted}\"]\n")).as_bytes(), &inputs)?;
    Ok(file.services[0].process.command.clone().unwrap_or_default().concat())
}

proptest! {
    #[test]
    fn doubled_dollars_are_dollars(text in "[ -~]{0,64}") {
        let word = text.replace('$', "$$");
        prop_assert_eq!(command(&word, "").ok(), Some(text));
    }

    #[test]
    fn a_value_is_never_read_again(value in "[ -~]{1,64}", before in "[a-z ]{0,8}", after in "[a-z ]{0,8}") {
        let expected = Some(format!("{before}{value}{after}"));
        for form in ["${V}", "${V:-x}", "${V-x}", "${V:?x}", "${V?x}", "${NO:-${V}}", "${V:+${V}}"] {
            prop_assert_eq!(command(&format!("{before}{form}{after}"), &value).ok(), expected.clone(), "{}", form);
        }
    }

    #[test]
    fn a_default_is_text(default in "[a-zA-Z0-9 :?+{-]{0,32}") {
        prop_assert_eq!(command(&format!("${{NO:-{default}}}"), "").ok(), Some(default));
    }

    #[test]
    fn nothing_written_panics(text in "[${}:?+A-Z_a-z -]{0,64}") {
        let _ = command(&text, "value");
    }
}
