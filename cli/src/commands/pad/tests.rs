//! The verbs on real files, and files that must be refused.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use clap::Parser as _;
use pad_format::contents::Value;
use pad_rules::{Constraints, SharePolicy};
use protocol::digest::Sha256Digest;
use tempfile::TempDir;

use crate::args::{Cli, Command};
use crate::failure::{Failure, Outcome};
use crate::output::Output;
use crate::pad::custodian::Public;
use crate::pad::data_key::DataKeyFile;
use crate::pad::{policies, sealed};

/// A directory in which commands are typed.
struct Bench(TempDir);

impl Bench {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Runs `dstyx pad ARGUMENTS`, where one with a dot is a file of the directory.
    fn try_run(&self, arguments: &str) -> Outcome<()> {
        let in_directory = |word: &str| {
            let is_file = word.contains('.') && !word.contains('=');
            if is_file { self.path(word).display().to_string() } else { word.to_owned() }
        };
        let program = ["dstyx", "--json", "pad"].map(str::to_owned);
        let all = program.into_iter().chain(arguments.split_whitespace().map(in_directory));
        let cli = Cli::try_parse_from(all).unwrap();
        let Command::Pad(verb) = cli.command else { panic!("another command") };
        super::run(&verb, &Output::new(true)).map(drop)
    }

    fn run(&self, arguments: &str) {
        self.try_run(arguments).unwrap_or_else(|failure| panic!("{arguments}: {failure}"));
    }

    fn refused(&self, arguments: &str) -> String {
        let Failure { hint, .. } = &self.try_run(arguments).expect_err(arguments);
        assert!(!hint.is_empty());
        self.try_run(arguments).expect_err(arguments).to_string()
    }

    /// Keys of a, b and c, the custodian d of two of them, and a policy.
    fn with_custodians() -> Self {
        let bench = Self::new();
        for name in ["a", "b", "c"] {
            bench.run(&format!("keygen {name}.key"));
        }
        bench.run("joint --threshold 2 a.custodian b.custodian c.custodian --out d.custodian");
        bench.write("share.wasm", "the engine");
        bench.write("trainer.wasm", "the trainer");
        bench.write("a.toml", Self::policy());
        bench.write("data.csv", "1,2,3\n".repeat(100_000));
        bench
    }

    fn policy() -> String {
        let names = ["a", "b", "c", "d"]
            .map(|name| format!("{name} = {{ file = \"{name}.custodian\" }}\n"));
        format!(
            "engine = {{ file = \"share.wasm\" }}\ninput_id = \"records\"\n\n[custodians]\n{}\n\
             [programs]\ntrainer = {{ file = \"trainer.wasm\" }}\n\n\
             [[input]]\nrule = \"MAX_SHARE\"\nshare = \"60 %\"\nof = \"entries\"\n\
             among = [\"a\", \"b\", \"c\"]\n\n\
             [[program]]\nrule = \"PROGRAM_IN\"\nprograms = [\"trainer\"]\n\n\
             [[output]]\nrule = \"CUSTODIAN\"\ncustodian = \"d\"\n",
            names.concat()
        )
    }

    fn names(&self) -> usize {
        fs::read_dir(self.0.path()).unwrap().count()
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}

const DELEGATOR: &str =
    "--delegator 5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d";
const PACK: &str = "pack data.csv --policy a.toml --custodian a.key --attribute entries=100";

#[test]
fn a_custodian_has_private_keys_and_a_public_file_that_are_never_written_over() {
    let bench = Bench::new();
    bench.run("keygen a.key");
    assert_eq!(mode(&bench.path("a.key")), 0o600);
    let before =
        [fs::read(bench.path("a.key")).unwrap(), fs::read(bench.path("a.custodian")).unwrap()];
    assert!(bench.refused("keygen a.key").contains("such a file already"));
    fs::remove_file(bench.path("a.custodian")).unwrap();
    assert!(bench.refused("keygen a.key").contains("such a file already"));
    bench.write("a.custodian", &before[1]);
    fs::rename(bench.path("a.key"), bench.path("kept.key")).unwrap();
    assert!(bench.refused("keygen a.key").contains("such a file already"));
    assert!(!bench.path("a.key").exists(), "keys without their public file");
    assert_eq!(fs::read(bench.path("kept.key")).unwrap(), before[0]);
    assert!(bench.refused("keygen b.custodian").contains("ending"));
    assert_eq!(bench.names(), 2);
}

#[test]
fn a_joint_custodian_has_single_members_each_once() {
    let bench = Bench::with_custodians();
    let joint = Public::load(&bench.path("d.custodian")).unwrap();
    let first = Public::load(&bench.path("a.custodian")).unwrap();
    assert_eq!((joint.custodian.threshold(), joint.custodian.members().len()), (2, 3));
    assert_eq!(joint.result_key, first.result_key);
    for (arguments, expected) in [
        ("joint --threshold 2 a.custodian a.custodian --out e.custodian", "there twice"),
        ("joint --threshold 3 a.custodian b.custodian --out e.custodian", "threshold"),
        ("joint --threshold 0 a.custodian b.custodian --out e.custodian", "threshold"),
        ("joint --threshold 1 a.custodian d.custodian --out e.custodian", "is no member"),
        ("joint --threshold 1 a.key --out e.custodian", "a.key"),
        ("joint --threshold 1 a.custodian --out d.custodian", "such a file already"),
    ] {
        let refused = bench.refused(arguments);
        assert!(refused.contains(expected), "{refused}");
    }
}

#[test]
fn an_enrolment_waits_for_enough_members_and_takes_no_others() {
    use pad_format::enrolment::SignedEnrolment;

    let bench = Bench::with_custodians();
    bench.run(&format!("enrol-file d.custodian --key a.key {DELEGATOR} --out 1.enrolment"));
    let read = |name| SignedEnrolment::parse(&fs::read(bench.path(name)).unwrap()).unwrap();
    let id = Public::load(&bench.path("d.custodian")).unwrap().custodian.id();
    assert!(read("1.enrolment").verify(&id).is_err(), "one of two signed");
    bench.run("enrol-file 1.enrolment --key c.key --out 2.enrolment");
    let verified = read("2.enrolment").verify(&id).unwrap();
    assert_eq!(verified.enrolment().key_provider_id, Sha256Digest([0x5d; 32]));
    bench.run(&format!(
        "enrol-file d.custodian --key a.key --key b.key {DELEGATOR} --number 2 --out 3.enrolment"
    ));
    assert_eq!(read("3.enrolment").verify(&id).unwrap().enrolment().version, 2);
    bench.run("keygen x.key");
    let mut changed = fs::read(bench.path("1.enrolment")).unwrap();
    let last = changed.len() - 1;
    changed[last] ^= 1;
    bench.write("changed.enrolment", changed);
    for (arguments, expected) in [
        (format!("enrol-file d.custodian --key x.key {DELEGATOR} --out 4.enrolment"), "no member"),
        (
            format!("enrol-file 1.enrolment --key b.key {DELEGATOR} --out 4.enrolment"),
            "stand in the enrolment",
        ),
        (
            format!("enrol-file d.custodian --key a.key {DELEGATOR} --number 0 --out 4.enrolment"),
            "from 1",
        ),
        ("enrol-file changed.enrolment --key b.key --out 4.enrolment".into(), "is not over this"),
        ("enrol-file a.toml --key a.key --out 4.enrolment".into(), "enrolment"),
        ("enrol-file 1.enrolment --key b.key --out 2.enrolment".into(), "such a file already"),
    ] {
        let refused = bench.refused(&arguments);
        assert!(refused.contains(expected), "{arguments}: {refused}");
    }
}

#[test]
fn a_file_goes_into_a_pad_and_out_again() {
    let bench = Bench::with_custodians();
    bench.run(&format!("{PACK} --attribute source=text:registry {DELEGATOR}"));
    let [pad, key] = ["data.csv.pad", "data.csv.pad.key"].map(|name| bench.path(name));
    assert_eq!(mode(&key), 0o600);
    let sealed = fs::read(&pad).unwrap();
    assert!(!sealed.windows(12).any(|window| window == b"1,2,3\n1,2,3\n"));
    assert!(!sealed.windows(7).any(|window| window == b"entries"));
    bench.run("inspect data.csv.pad");
    bench.run("inspect data.csv.pad --key data.csv.pad.key --names a.toml");
    bench.run("open data.csv.pad --key data.csv.pad.key --out again.csv");
    assert_eq!(
        fs::read(bench.path("again.csv")).unwrap(),
        fs::read(bench.path("data.csv")).unwrap()
    );
    assert_eq!(mode(&bench.path("again.csv")), 0o600);
}

#[test]
fn a_module_becomes_a_component_or_is_refused_with_a_hint() {
    let bench = Bench::new();
    // An empty memory, and the functions `run` of two numbers and `cabi_realloc`.
    const MODULE: &[u8] = b"\0asm\x01\0\0\0\
        \x01\x0e\x02\x60\x02\x7f\x7f\0\x60\x04\x7f\x7f\x7f\x7f\x01\x7f\
        \x03\x03\x02\0\x01\x05\x03\x01\0\x01\
        \x07\x1f\x03\x06memory\x02\0\x03run\0\0\x0ccabi_realloc\0\x01\
        \x0a\x09\x02\x02\0\x0b\x04\0\x41\0\x0b";
    bench.write("a.wasm", MODULE);
    bench.run("component a.wasm");
    bench.run("component a.wasm -o b.wasm");
    let made = fs::read(bench.path("a.component.wasm")).unwrap();
    assert_eq!(fs::read(bench.path("b.wasm")).unwrap(), made);
    assert!(made.starts_with(b"\0asm\x0d\0\x01\0"));
    assert!(bench.refused("component b.wasm -o c.wasm").contains("expected a core module"));
    bench.write("d.wasm", "no module");
    assert!(bench.refused("component d.wasm").contains("no WebAssembly module"));
    assert!(!bench.path("c.wasm").exists() && !bench.path("d.component.wasm").exists());
}

#[test]
fn a_pad_tells_a_program_the_policy_of_what_it_is_to_propose() {
    let bench = Bench::with_custodians();
    let [policy, custodian] = ["a.toml", "d.custodian"].map(|name| bench.path(name));
    let (policy, custodian) = (policy.display(), custodian.display());
    bench.run(&format!(
        "{PACK} {DELEGATOR} --attribute model-input=input-of:{policy} \
         --attribute model-program=program-of:{policy} \
         --attribute model-output=output-of:{policy} \
         --attribute model-custodian=custodian-of:{custodian}"
    ));
    let key = DataKeyFile::load(&bench.path("data.csv.pad.key")).unwrap();
    assert_eq!(key.engines, [Sha256Digest::of(b"the engine")]);
    let opened = sealed::opened(&bench.path("data.csv.pad"), &key).unwrap();
    let contents = opened.contents();
    let value = |name| match &contents.attribute(name).unwrap().value {
        Value::Bytes(bytes) => bytes.clone(),
        _ => panic!("no bytes"),
    };
    assert_eq!(value("model-input"), contents.policies[0].input_constraint);
    assert_eq!(value("model-program"), contents.policies[0].program_constraint);
    assert_eq!(value("model-output"), contents.policies[0].output_constraint);
    let joint = Public::load(&bench.path("d.custodian")).unwrap().custodian.id();
    assert_eq!(value("model-custodian"), joint.0.as_bytes());
}

#[test]
fn a_pad_of_a_joint_custodian_has_attributes_that_enough_members_signed() {
    let bench = Bench::with_custodians();
    let pack = format!("pack data.csv --policy a.toml --custodian d.custodian {DELEGATOR}");
    let attribute = "--attribute entries=1";
    assert!(bench.refused(&format!("{pack} {attribute} --key a.key")).contains("2 members, not 1"));
    let twice = bench.refused(&format!("{pack} {attribute} --key a.key --key a.key"));
    assert!(twice.contains("2 members, not 1"));
    bench.run("keygen x.key");
    let refused = bench.refused(&format!("{pack} {attribute} --key a.key --key x.key"));
    assert!(refused.contains("is no member"), "{refused}");
    bench.run(&format!("{pack} {attribute} --key c.key --key a.key --out d.pad"));
    bench.run("inspect d.pad --key d.pad.key");
    bench.run(&format!("{pack} --out none.pad"));
}

#[test]
fn nothing_is_packed_over_another_file_and_nothing_is_left_of_a_refused_pad() {
    let bench = Bench::with_custodians();
    let pack = format!("{PACK} {DELEGATOR}");
    bench.write("data.csv.pad", "precious");
    let before = bench.names();
    assert!(bench.refused(&pack).contains("such a file already"));
    assert_eq!(fs::read(bench.path("data.csv.pad")).unwrap(), b"precious");
    assert_eq!(bench.names(), before);
    fs::rename(bench.path("data.csv.pad"), bench.path("data.csv.pad.key")).unwrap();
    assert!(bench.refused(&pack).contains("such a file already"));
    assert_eq!(bench.names(), before);
    fs::remove_file(bench.path("data.csv.pad.key")).unwrap();
    for (more, expected) in [
        ("--attribute entries=2", "stated twice"),
        ("--attribute rows=few", "neither a number"),
        ("--chunk-log2 21", "2^21"),
        ("--policy missing.toml", "missing.toml"),
        ("--policy data.csv", "line 1"),
    ] {
        let refused = bench.refused(&format!("{pack} {more}"));
        assert!(refused.contains(expected), "{more}: {refused}");
        assert_eq!(bench.names(), before - 1, "{more}");
    }
    fs::set_permissions(bench.path("a.key"), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(bench.refused(&pack).contains("mode 644; expected 600"));
    assert_eq!(bench.names(), before - 1);
}

#[test]
fn a_changed_pad_or_another_key_gives_no_data() {
    let bench = Bench::with_custodians();
    bench.run(&format!("{PACK} {DELEGATOR}"));
    bench.run(&format!("{PACK} {DELEGATOR} --out other.pad"));
    let open = "open data.csv.pad --key data.csv.pad.key --out again.csv";
    let refused = bench.refused("open data.csv.pad --key other.pad.key --out again.csv");
    assert!(refused.contains("the key is of the Pad"), "{refused}");
    let good = fs::read(bench.path("data.csv.pad")).unwrap();
    let half = good.len() / 2;
    let flipped = |at: usize| {
        let mut changed = good.clone();
        changed[at] ^= 1;
        changed
    };
    for (changed, expected) in [
        (flipped(half), "chunk"),
        (flipped(good.len() - 1), "chunk"),
        (good[..half].to_vec(), "chunk"),
        (flipped(40), ""),
        (flipped(0), "DSTYXPAD"),
    ] {
        bench.write("data.csv.pad", changed);
        let before = bench.names();
        let refused = bench.refused(open);
        assert!(refused.contains(expected), "{expected}: {refused}");
        assert_eq!(bench.names(), before, "nothing is left beside it");
    }
    bench.write("data.csv.pad", &good);
    bench.write("again.csv", "precious");
    assert!(bench.refused(open).contains("such a file already"));
    fs::remove_file(bench.path("again.csv")).unwrap();
    let key = bench.path("data.csv.pad.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(bench.refused(open).contains("mode 640; expected 600"));
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    bench.run(open);
}

#[test]
fn a_policy_is_compiled_and_shown_again_exactly() {
    let bench = Bench::with_custodians();
    bench.run("policy compile a.toml --out a.policy");
    let compiled = fs::read(bench.path("a.policy")).unwrap();
    let policy = pad_format::Policy::parse(&compiled).unwrap();
    assert_eq!(policy.engine, Sha256Digest::of(b"the engine"));
    for shown in ["a.toml", "a.policy", "a.policy --names a.toml"] {
        bench.run(&format!("policy show {shown}"));
        bench.run(&format!("policy explain {shown}"));
    }
    let text = pad_policy_file::to_toml(&policy, &pad_policy_file::Names::default()).unwrap();
    bench.write("shown.toml", text);
    bench.run("policy compile shown.toml --out shown.policy");
    assert_eq!(fs::read(bench.path("shown.policy")).unwrap(), compiled);
    assert!(bench.refused("policy compile a.toml --out a.policy").contains("already"));
    bench.write("b.toml", Bench::policy().replace("MAX_SHARE", "MAX_SHAER"));
    let refused = bench.refused("policy compile b.toml --out b.policy");
    assert!(refused.contains("b.toml: line 14, input[1].rule: \"MAX_SHAER\""), "{refused}");
    fs::remove_file(bench.path("trainer.wasm")).unwrap();
    let refused = bench.refused("policy compile a.toml --out c.policy");
    assert!(refused.contains("programs.trainer.file: the file trainer.wasm"), "{refused}");
}

#[test]
fn the_policies_of_the_hospitals_are_what_their_comments_say() {
    let bench = Bench::with_custodians();
    bench.run("keygen e.key");
    for program in ["train", "query", "fine-tune"] {
        bench.write(&format!("{program}.wasm"), program);
    }
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/hospitals");
    let rules = |name: &str| {
        let file = bench.path(&format!("{name}.toml"));
        fs::copy(examples.join(format!("{name}.toml")), &file).unwrap();
        let policy = policies::load(&file).unwrap_or_else(|failure| panic!("{failure}")).policy;
        SharePolicy::parse(&Constraints {
            input: policy.input_constraint,
            program: policy.program_constraint,
            output: policy.output_constraint,
        })
        .unwrap()
    };
    for name in ["a", "b", "c", "private"] {
        assert!(!rules(name).output.is_empty());
    }
    let model = rules("model");
    for (name, is_strict) in [
        ("tuned", true),
        ("tuned-for-e", true),
        ("tuned-for-all", false),
        ("tuned-unlimited", false),
    ] {
        assert_eq!(rules(name).is_at_least_as_strict_as(&model), is_strict, "{name}");
    }
}

#[test]
fn owners_agree_on_other_policies_for_a_pad_whose_key_nobody_has() {
    use pad_format::update::SignedUpdate;
    let bench = Bench::with_custodians();
    bench.run(&format!("{PACK} {DELEGATOR}"));
    bench.run("policy compile a.toml --out a.policy");
    let key = DataKeyFile::load(&bench.path("data.csv.pad.key")).unwrap();
    let opened = sealed::opened(&bench.path("data.csv.pad"), &key).unwrap();
    fs::remove_file(bench.path("data.csv.pad.key")).unwrap();
    let agree = "agree data.csv.pad --policy a.policy --approve a.key --approve b.key";
    bench.run(&format!("{agree} --number 2 --out a.update"));
    let signed = SignedUpdate::parse(&fs::read(bench.path("a.update")).unwrap()).unwrap();
    let update = *signed.claimed();
    assert_eq!(update.pad_id, opened.metadata().pad_id);
    // The policies are those that the Pad has.
    assert_eq!((update.policies, update.version), (opened.contents().policies_digest(), 2));
    assert_eq!(signed.verify(&update, 1).unwrap().ids().len(), 2);
    assert!(signed.verify(&update, 2).is_err());
    let refused =
        bench.refused("agree a.toml --policy a.toml --number 2 --approve a.key --out b.u");
    assert!(refused.contains("a.toml"), "{refused}");
    assert!(!bench.path("b.u").exists());
}

#[test]
fn an_update_that_no_engine_decides_on_leaves_no_file() {
    let bench = Bench::with_custodians();
    bench.run(&format!("{PACK} {DELEGATOR}"));
    bench.run(&format!("enrol-file a.custodian --key a.key {DELEGATOR} --out a.enrolment"));
    let before = bench.names();
    let update = "update data.csv.pad --key data.csv.pad.key --policy a.toml --engine share.wasm \
                  --enrolment a.enrolment --approve a.key --out new.pad";
    let refused = bench.refused(&format!("{update} --runner no.runner"));
    assert!(refused.contains("no.runner"), "{refused}");
    bench.write("no.runner", "no program");
    let refused = bench.refused(&format!("{update} --runner no.runner"));
    assert!(refused.contains("no.runner"), "{refused}");
    fs::remove_file(bench.path("no.runner")).unwrap();
    assert_eq!(bench.names(), before);
}

/// A service for Pads of a guest for which this exporter stands, and what it is asked.
fn service(exporter: String) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://localhost:{}", listener.local_addr().unwrap().port());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let of_service = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let (mut first, mut line, mut length) = (String::new(), String::new(), 0);
            stream.read_line(&mut first).unwrap();
            while stream.read_line(&mut line).unwrap() > 2 {
                let lower = line.to_ascii_lowercase();
                if let Some(digits) = lower.strip_prefix("content-length:") {
                    length = digits.trim().parse().unwrap();
                }
                line.clear();
            }
            stream.read_exact(&mut vec![0; length]).unwrap();
            let run = "01".repeat(16);
            let body = match first.split_whitespace().take(2).collect::<Vec<_>>()[..] {
                ["GET", "/files"] => "[]".to_owned(),
                ["POST", "/draw"] => format!(r#"{{"run":"{run}","exporter":"{exporter}"}}"#),
                ["POST", "/run"] => format!(r#"{{"run":"{run}","refusals":["no"],"outputs":[]}}"#),
                _ => "{}".to_owned(),
            };
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n", body.len());
            let answer = format!("{head}connection: close\r\n\r\n{body}");
            stream.get_mut().write_all(answer.as_bytes()).unwrap();
            let call: Vec<_> = first.split_whitespace().take(2).collect();
            of_service.lock().unwrap().push(call.join(" "));
        }
    });
    (url, asked)
}

#[test]
fn nothing_is_signed_for_another_guest_than_the_one_that_was_verified() {
    let bench = Bench::with_custodians();
    bench.write("train.wasm", "a program");
    bench.write("engine.wasm", "an engine");
    let (url, asked) = service("07".repeat(32));
    let run = |exporter: &str, out: &str| {
        let guest = format!("--guest {url} --exporter {}", exporter.repeat(32));
        format!("run train.wasm {guest} --engine engine.wasm --owner a.key --out {out}")
    };
    let failure = bench.try_run(&run("08", "first.d")).unwrap_err().to_string();
    assert!(failure.contains("of another guest"), "{failure}");
    let put = |text: &str| format!("PUT /files/{}", Sha256Digest::of(text.as_bytes()));
    let [program, engine] = ["a program", "an engine"].map(put);
    assert_eq!(*asked.lock().unwrap(), ["POST /draw"]);
    bench.run(&run("07", "second.d"));
    let all = ["POST /draw", "GET /files", &program, &engine, "POST /run"];
    assert_eq!(asked.lock().unwrap()[1..], all);
    assert!(bench.try_run(&run("0z", "third.d")).is_err());
}
