//! The hospitals' policies, every rule there and back, and files that must be refused.

use proptest::collection::{btree_map, btree_set, vec as several};
use proptest::prelude::*;

use pad_format::Policy;
use pad_format::contents::Name;
use pad_rules::{
    InputRule, OutputRule, OwnerId, ProgramDigest, ProgramRule, Quota, QuotaId, Schema, Share,
    SharePolicy,
};
use protocol::digest::Sha256Digest;

use crate::{
    Compiled, Files, Names, PolicyFileError, Problem, SHARE_TYPE, compile, explain, to_toml,
};

/// What follows the names of each file here.
fn file(rules: &str) -> String {
    let (a, b, c, d) = ("aa".repeat(32), "bb".repeat(32), "cc".repeat(32), "dd".repeat(32));
    let (engine, query) = ("ee".repeat(32), "0b".repeat(32));
    format!(
        "engine = \"{engine}\"\n\
         input_id = \"records\"\n\
         [custodians]\na = \"{a}\"\nb = \"{b}\"\nc = \"{c}\"\nd = \"{d}\"\n\
         [programs]\ntrainer = {{ file = \"trainer.wasm\" }}\nquery = \"{query}\"\n{rules}"
    )
}

/// A directory with two files.
struct Directory;

impl Files for Directory {
    fn sha256(&mut self, path: &str) -> Result<Sha256Digest, String> {
        match path {
            "trainer.wasm" => Ok(Sha256Digest([0x0a; 32])),
            _ => Err("there is no such file".to_owned()),
        }
    }

    fn custodian(&mut self, path: &str) -> Result<Sha256Digest, String> {
        match path {
            "a.custodian" => Ok(Sha256Digest([0xaa; 32])),
            _ => Err("no custodian's public file".to_owned()),
        }
    }
}

fn read(text: &str) -> Result<Compiled, PolicyFileError> {
    compile(text, &mut Directory)
}

fn refused(rules: &str) -> String {
    match read(&file(rules)) {
        Ok(_) => panic!("accepted: {rules}"),
        Err(error) => error.to_string(),
    }
}

fn owner(number: u8) -> OwnerId {
    OwnerId([number; 32])
}

const TRAINING: &str = r#"
[[input]]
rule = "MAX_SHARE"
share = "60 %"
of = "entries"
among = ["c", "a", "b"]

[[program]]
rule = "PROGRAM_IN"
programs = ["trainer"]

[[output]]
rule = "CUSTODIAN"
custodian = "d"
"#;

const MODEL: &str = r#"
[[input]]
rule = "PLAIN_INPUT"
max_bytes = 4096

[[program]]
rule = "PROGRAM_IN"
programs = ["query", "trainer"]

[[program]]
rule = "AUTH_USER"
owners = ["a", "b", "c"]

[[program]]
rule = "RATE_LIMIT"
quota = "000102030405060708090a0b0c0d0e0f"
limits = { a = "10 per minute", b = "5 per minute", c = "5 per 10 minutes" }

[[output]]
rule = "CUSTODIAN"
custodian = "d"

[[output]]
rule = "SAME_POLICY"

[[output]]
rule = "PLAIN_RESULT"
schema = "label"
labels = ["malignant", "benign"]
max_bytes = 16

[[output]]
rule = "UPDATE_BY"
share = 66.67
weights = { a = 100, b = 50, c = 50 }
"#;

#[test]
fn the_policy_of_a_hospital_is_the_rules_that_it_names() {
    let compiled = read(&file(TRAINING)).unwrap();
    let among = vec![owner(0xaa), owner(0xbb), owner(0xcc)];
    let share = Share { basis_points: 6000, attribute: "entries".into(), among };
    let expected = SharePolicy {
        input: vec![InputRule::MaxShare(share)],
        program: vec![ProgramRule::ProgramIn(vec![ProgramDigest([0x0a; 32])])],
        output: vec![OutputRule::Custodian(owner(0xdd))],
    };
    assert_eq!(compiled.rules, expected);
    assert_eq!(compiled.policy.input_constraint, expected.to_constraints().input);
    assert_eq!(compiled.policy.policy_type.to_string(), SHARE_TYPE);
    assert_eq!(compiled.policy.engine, Sha256Digest([0xee; 32]));
    assert_eq!(compiled.names.custodian(&owner(0xdd)), Some("d"));
}

#[test]
fn the_policy_of_the_model_is_the_rules_that_it_names() {
    let rules = read(&file(MODEL)).unwrap().rules;
    let quota = |number, uses, period_secs| Quota { owner: owner(number), uses, period_secs };
    let owners = vec![quota(0xaa, 10, 60), quota(0xbb, 5, 60), quota(0xcc, 5, 600)];
    assert_eq!(
        rules.program[2],
        ProgramRule::RateLimit {
            quota: QuotaId([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]),
            owners,
        }
    );
    let labels = vec!["benign".to_owned(), "malignant".to_owned()];
    assert_eq!(
        rules.output[2],
        OutputRule::PlainResult { schema: Schema::Label(labels), max_bytes: 16 }
    );
    let weights = vec![(owner(0xaa), 100), (owner(0xbb), 50), (owner(0xcc), 50)];
    assert_eq!(rules.output[3], OutputRule::UpdateBy { basis_points: 6667, weights });
}

#[test]
fn a_policy_is_shown_with_the_names_of_its_file_and_reads_the_same() {
    for rules in [TRAINING, MODEL, ""] {
        let compiled = read(&file(rules)).unwrap();
        let shown = to_toml(&compiled.policy, &compiled.names).unwrap();
        let again = read(&shown).unwrap();
        assert!(again.policy == compiled.policy, "{shown}");
        assert_eq!(to_toml(&again.policy, &again.names).unwrap(), shown);
        let nameless = to_toml(&compiled.policy, &Names::default()).unwrap();
        assert!(read(&nameless).unwrap().policy == compiled.policy, "{nameless}");
    }
}

#[test]
fn a_policy_is_explained_with_what_it_does_not_allow() {
    let compiled = read(&file(TRAINING)).unwrap();
    let text = explain(&compiled.policy, &compiled.names).unwrap();
    for sentence in [
        "its custodian has at most 60 % of \"entries\" in the data set, where Pads of a, b and c \
         count (input rule 1, MAX_SHARE)",
        "the program is trainer (program rule 1, PROGRAM_IN)",
        "Pads of the custodian d (output rule 1, CUSTODIAN)",
        "- plain results (PLAIN_RESULT)",
        "- other policies for the same data (UPDATE_BY)",
    ] {
        assert!(text.contains(sentence), "{sentence}\n{text}");
    }
    let compiled = read(&file(MODEL)).unwrap();
    let text = explain(&compiled.policy, &compiled.names).unwrap();
    assert!(text.contains("a 10 per minute, b 5 per minute, c 5 per 10 minutes"), "{text}");
    let refused = "so it is refused:\n  - a program that uses a native helper (HELPER_IN)\n";
    assert!(text.ends_with(refused), "{text}");
    let text = explain(&read(&file("")).unwrap().policy, &Names::default()).unwrap();
    assert!(text.contains("nothing reads the Pad at all"), "{text}");
}

#[test]
fn an_error_names_the_line_and_the_key() {
    let rule = |lines: &str| format!("[[input]]\nrule = \"MAX_SHARE\"\n{lines}");
    for (rules, expected) in [
        (rule("share = \"60 %\"\nof = \"entries\"\namong = [\"x\"]"), "line 15, input[1].among[1]: \"x\" is not defined in [custodians]"),
        (rule("share = \"sixty\"\nof = \"entries\"\namong = [\"a\"]"), "line 13, input[1].share: a percentage"),
        (rule("share = 60\nof = \"entries\"\namong = [\"a\"]"), "line 13, input[1].share: a percentage such as \"60 %\" or 60.0 is expected, found integer"),
        (rule("share = 0.6\nof = \"entries\"\namong = [\"a\"]"), "line 13, input[1].share: a percentage"),
        (rule("share = \"60 %\"\nof = \"entries\"\namong = [\"a\", \"b\", \"a\"]"), "line 15, input[1].among[3]: \"a\" is the same as \"a\""),
        (rule("share = \"60 %\"\nof = \"entries\"\namong = []"), "line 11, input[1]: the engine would refuse it: AMONG"),
        (rule("share = \"60 %\"\nof = \"entries\""), "line 11, input[1]: the key among is missing"),
        (rule("share = \"60 %\"\nof = \"entries\"\namong = [\"a\"]\nmax = 1"), "line 16, input[1].max: the key is not known here; known are rule, share, of, among"),
        (rule("share = \"60 %\"\nof = \"\"\namong = [\"a\"]"), "line 11, input[1]: the engine would refuse it"),
        ("[[input]]\nrule = \"PROGRAM_IN\"\nprograms = [\"query\"]".into(), "line 12, input[1].rule: \"PROGRAM_IN\" is no rule of this part"),
        ("[[program]]\nrule = \"PROGRAM_IN\"\nprograms = [\"a\"]".into(), "line 13, program[1].programs[1]: \"a\" is not defined in [programs]"),
        ("[[program]]\nrule = \"RATE_LIMIT\"\nquota = \"00\"\nlimits = { a = \"1 per day\" }".into(), "line 13, program[1].quota: an account"),
        (format!("[[program]]\nrule = \"RATE_LIMIT\"\nquota = \"{}\"\nlimits = {{ a = \"0 per day\" }}", "00".repeat(16)), "line 11, program[1]: the engine would refuse it: quota: uses"),
        (format!("[[program]]\nrule = \"RATE_LIMIT\"\nquota = \"{}\"\nlimits = {{ a = \"often\" }}", "00".repeat(16)), "line 14, program[1].limits.a: uses and a period"),
        ("[[output]]\nrule = \"PLAIN_RESULT\"\nschema = \"text\"\nmax_bytes = 1".into(), "line 13, output[1].schema: \"any\", \"number\" or \"label\" is expected"),
        ("[[output]]\nrule = \"PLAIN_RESULT\"\nschema = \"any\"\nlabels = [\"a\"]\nmax_bytes = 1".into(), "line 14, output[1].labels: the key is not known here"),
        ("[[output]]\nrule = \"PLAIN_RESULT\"\nschema = \"any\"\nmax_bytes = -1".into(), "line 14, output[1].max_bytes: a whole number"),
        ("[[outputs]]\nrule = \"SAME_POLICY\"".into(), "line 11, outputs: the key is not known here"),
        ("[[output]]\nrule = \"SAME_POLICY\"\nrule = \"SAME_POLICY\"".into(), "line 13: not TOML"),
        ("output = 1".into(), "line 11, programs.output: a table is expected, found integer"),
    ] {
        let error = refused(&rules);
        assert!(error.starts_with(expected), "{expected}\n{error}");
    }
}

#[test]
fn the_top_of_a_file_is_read_strictly() {
    let good = file(TRAINING);
    let change = |from: &str, to: &str| match read(&good.replacen(from, to, 1)) {
        Ok(_) => panic!("accepted: {to}"),
        Err(error) => (error.to_string(), error.hint()),
    };
    let (error, hint) = change("engine = ", "motor = ");
    assert_eq!(error, "line 1: the key engine is missing");
    assert!(hint.starts_with("add a line `engine = …`"), "{hint}");
    let (error, _) = change("\"eeee", "\"EEee");
    assert!(error.starts_with("line 1, engine: a SHA-256"), "{error}");
    let (error, _) = change("trainer.wasm", "other.wasm");
    let expected = "line 9, programs.trainer.file: the file other.wasm: there is no such file";
    assert_eq!(error, expected);
    let (error, _) = change("file = ", "path = ");
    assert!(error.starts_with("line 9, programs.trainer: the key file is missing"), "{error}");
    let by_file =
        good.replacen(&format!("\"{}\"", "aa".repeat(32)), "{ file = \"a.custodian\" }", 1);
    assert!(read(&by_file).unwrap().policy == read(&good).unwrap().policy);
    let (error, _) = change(&format!("\"{}\"", "aa".repeat(32)), "{ file = \"trainer.wasm\" }");
    let expected = "line 4, custodians.a.file: the file trainer.wasm: no custodian's public file";
    assert_eq!(error, expected);
    let (error, _) = change(&"bb".repeat(32), &"aa".repeat(32));
    assert_eq!(error, "line 5, custodians.b: \"b\" is the same as \"a\"");
    let (error, _) = change("\nd = ", "\n\"D d\" = ");
    assert!(error.starts_with("line 7, custodians.D d: a name"), "{error}");
    let (error, _) = change("\"records\"", "\"Records\"");
    assert!(error.starts_with("line 2, input_id: 1 to 64 of"), "{error}");
    let large = read(&" ".repeat(crate::MAX_FILE_BYTES + 1)).err().map(|error| error.problem);
    assert!(matches!(large, Some(Problem::TooLarge { .. })));
    assert!(read("").is_err());
}

#[test]
fn more_rules_than_a_part_has_are_refused() {
    let rule = "[[output]]\nrule = \"SAME_POLICY\"\n";
    assert!(read(&file(&rule.repeat(32))).is_ok());
    let error = refused(&rule.repeat(33));
    assert!(error.starts_with("line 1: the engine would refuse it: output constraint"), "{error}");
}

#[test]
fn a_text_of_a_stranger_commands_no_terminal() {
    let label = "\u{1b}[2J\"\\\u{202e}ü".to_owned();
    let rules = SharePolicy {
        output: vec![OutputRule::PlainResult {
            schema: Schema::Label(vec![label]),
            max_bytes: u64::MAX,
        }],
        ..SharePolicy::default()
    };
    let policy = policy_of(&rules);
    let shown = to_toml(&policy, &Names::default()).unwrap();
    assert!(shown.bytes().all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte)), "{shown}");
    assert!(read(&shown).unwrap().policy == policy, "{shown}");
}

#[test]
fn a_policy_of_another_engine_is_not_shown_as_one_of_this() {
    let mut policy = policy_of(&SharePolicy::default());
    policy.program_constraint = b"other".to_vec();
    assert!(to_toml(&policy, &Names::default()).is_err());
    assert!(explain(&policy, &Names::default()).is_err());
}

fn policy_of(rules: &SharePolicy) -> Policy {
    let constraints = rules.to_constraints();
    Policy {
        policy_type: SHARE_TYPE.parse().unwrap(),
        engine: Sha256Digest([0xee; 32]),
        input_id: Name::new("records").unwrap(),
        input_constraint: constraints.input,
        program_constraint: constraints.program,
        output_constraint: constraints.output,
    }
}

fn owner_ids() -> impl Strategy<Value = Vec<OwnerId>> {
    btree_set(0_u8..40, 1..6).prop_map(|set| set.into_iter().map(owner).collect())
}

fn shares() -> impl Strategy<Value = Share> {
    (0_u64..=10_000, "\\PC{1,16}", owner_ids()).prop_map(|(basis_points, attribute, among)| Share {
        basis_points,
        attribute,
        among,
    })
}

fn input_rule() -> impl Strategy<Value = InputRule> {
    prop_oneof![
        shares().prop_map(InputRule::MaxShare),
        shares().prop_map(InputRule::MinShare),
        any::<u64>().prop_map(|max_bytes| InputRule::PlainInput { max_bytes }),
    ]
}

fn program_rule() -> impl Strategy<Value = ProgramRule> {
    let programs = btree_set(0_u8..40, 1..6)
        .prop_map(|set| set.into_iter().map(|number| ProgramDigest([number; 32])).collect());
    let limits = btree_map(0_u8..40, (1_u64..=10_000, 1_u64..=300_000_000), 1..6);
    prop_oneof![
        programs.prop_map(ProgramRule::ProgramIn),
        owner_ids().prop_map(ProgramRule::AuthUser),
        btree_set("\\PC{1,16}", 1..4)
            .prop_map(|names| ProgramRule::HelperIn(names.into_iter().collect())),
        (any::<[u8; 16]>(), limits).prop_map(|(quota, limits)| ProgramRule::RateLimit {
            quota: QuotaId(quota),
            owners: limits
                .into_iter()
                .map(|(number, (uses, period_secs))| Quota {
                    owner: owner(number),
                    uses,
                    period_secs
                })
                .collect(),
        }),
    ]
}

fn output_rule() -> impl Strategy<Value = OutputRule> {
    let schema = prop_oneof![
        Just(Schema::Any),
        Just(Schema::Number),
        btree_set(
            any::<String>().prop_filter("1 to 64 bytes", |text| { (1..=64).contains(&text.len()) }),
            1..4
        )
        .prop_map(|labels| Schema::Label(labels.into_iter().collect())),
    ];
    let weights = btree_map(0_u8..40, 1_u64.., 1..6);
    prop_oneof![
        (0_u8..40).prop_map(|number| OutputRule::Custodian(owner(number))),
        Just(OutputRule::SamePolicy),
        (schema, any::<u64>())
            .prop_map(|(schema, max_bytes)| OutputRule::PlainResult { schema, max_bytes }),
        (1_u64..=10_000, weights).prop_map(|(basis_points, weights)| OutputRule::UpdateBy {
            basis_points,
            weights: weights.into_iter().map(|(number, weight)| (owner(number), weight)).collect(),
        }),
    ]
}

proptest! {
    #[test]
    fn every_policy_goes_to_text_and_back_exactly(
        input in several(input_rule(), 0..5),
        program in several(program_rule(), 0..5),
        output in several(output_rule(), 0..5),
        named in any::<bool>(),
    ) {
        let rules = SharePolicy { input, program, output };
        prop_assume!(SharePolicy::parse(&rules.to_constraints()).is_ok());
        let policy = policy_of(&rules);
        let names = if named { read(&file("")).unwrap().names } else { Names::default() };
        let shown = to_toml(&policy, &names).unwrap();
        let again = read(&shown).map_err(|error| TestCaseError::fail(format!("{error}\n{shown}")))?;
        prop_assert!(again.policy == policy, "{}", shown);
        prop_assert_eq!(again.rules, rules);
        prop_assert!(explain(&policy, &names).is_ok());
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,200}", at: usize, cut: usize) {
        let _ = read(&text);
        let good = file(MODEL);
        let at = at % good.len();
        let end = (at + cut % 8).min(good.len());
        let changed = format!("{}{text}{}", &good[..at], &good[end..]);
        let _ = read(&changed);
    }
}

#[test]
fn the_examples_of_the_page_are_policies_and_its_explanation_is_the_one_that_is_printed() {
    let page = include_str!("../../../docs/pad-policy.md");
    let blocks = |kind: &str| -> Vec<&str> {
        let fence = format!("```{kind}\n");
        page.split(&fence).skip(1).filter_map(|rest| rest.split("```").next()).collect()
    };
    let files = blocks("toml");
    assert_eq!(files.len(), 2);
    for file in &files {
        let compiled = read(file).unwrap_or_else(|error| panic!("{error}\n{file}"));
        let shown = to_toml(&compiled.policy, &compiled.names).unwrap();
        assert!(read(&shown).unwrap().policy == compiled.policy);
    }
    let compiled = read(files[0]).unwrap();
    assert_eq!(blocks("text"), [explain(&compiled.policy, &compiled.names).unwrap()]);
}
