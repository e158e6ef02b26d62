//! `dstyx pad policy`: policies of the engine `share` as people write them and as Pads have them.

use std::process::ExitCode;

use pad_policy_file::{explain, to_toml};
use serde_json::json;

use crate::args::{PadPolicy, ShownPolicy};
use crate::failure::{Hint as _, Outcome};
use crate::new_file;
use crate::output::{Output, named};
use crate::pad::policies::{self, Loaded};

/// Who may read a compiled policy: everybody.
const MODE: u32 = 0o644;
/// What to do about constraints of another engine.
const OTHER_ENGINE: &str =
    "its constraints are not those of the engine `share`: ask whoever made it";

/// Does what was asked for.
pub fn run(verb: &PadPolicy, output: &Output) -> Outcome<ExitCode> {
    match verb {
        PadPolicy::Compile { file, out } => {
            let Loaded { policy, .. } = policies::load(file)?;
            new_file::write_new(out, MODE, &policy.to_bytes())?;
            let document = json!({
                "file": out, "engine": policy.engine, "input_id": policy.input_id.as_str(),
            });
            output.result(&document, || {
                named([
                    ("policy", out.display().to_string()),
                    ("engine", policy.engine.to_string()),
                    ("input", policy.input_id.as_str().to_owned()),
                ])
            });
        }
        PadPolicy::Show { policy } => print(policy, "toml", to_toml, output)?,
        PadPolicy::Explain { policy } => print(policy, "explanation", explain, output)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn print(
    shown: &ShownPolicy,
    key: &'static str,
    text: impl Fn(&pad_format::Policy, &pad_policy_file::Names) -> Result<String, pad_rules::RuleError>,
    output: &Output,
) -> Outcome<()> {
    let Loaded { policy, names } = policies::load(&shown.file)?;
    let names = policies::names(shown.names.as_deref(), names)?;
    let text = text(&policy, &names).hint(shown.file.display(), OTHER_ENGINE)?;
    output.result(&json!({ key: text }), || text.clone());
    Ok(())
}
