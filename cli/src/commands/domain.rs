//! `dstyx domain`: who else may be behind a gateway's name?

use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use attestation::Verdict;
use attestation::policy::{ExpectedApp, MAX_RULES_BYTES, Rules};
use gateway_audit::attested::Gateway;
use gateway_audit::findings::{Findings, Question, Row, RowVerdict};
use gateway_audit::kept::{self, Kept};
use gateway_audit::log_list::{self, TiledLog};
use gateway_domain::certificate::parse_chain;
use gateway_domain::name::DomainName;
use pccs::Roots;
use protocol::digest::{AppId, ComposeHash, Sha256Digest};

use crate::args::{Domain, DomainVerify};
use crate::clock::now_secs;
use crate::commands::verify::{released, time_of};
use crate::domain::{Asker, EvidenceSource, Judge, Sources, default_evidence, look};
use crate::failure::{Failure, Hint as _, Outcome};
use crate::files;
use crate::image_directory;
use crate::judge::{StatedApp, anchor_if};
use crate::output::{Output, columns};
use crate::private;

/// Largest file of roots.
const MAX_ROOT_BYTES: u64 = 1 << 20;

/// Does what was asked for.
pub fn run(verb: &Domain, output: &Output) -> Outcome<ExitCode> {
    match verb {
        Domain::Verify(options) => verify(options, output),
    }
}

/// Exit status 0 only if every row passes, 1 if one fails, 2 if one was skipped.
fn verify(options: &DomainVerify, output: &Output) -> Outcome<ExitCode> {
    let name: DomainName =
        options.name.parse().hint(&options.name, "give a name such as <app id>.example.org")?;
    let since_secs = options.since.as_deref().map_or(Ok(0), |since| time_of(Some(since)))?;
    let (judge, gateway) = (judge_of(options)?, gateway(options)?);
    let (sources, asker) = (sources(options, &name)?, Asker::new(&roots(options)?));
    let mut kept = options.state.as_deref().map_or_else(|| Ok(Kept::default()), read_kept)?;
    loop {
        let question = Question { name: name.clone(), now_secs: now_secs()?, since_secs };
        let findings = look(&question, &gateway, &judge, &sources, &asker, &mut kept)?;
        if let Some(file) = &options.state {
            private::replace(file, &kept.to_json())
                .hint(file.display(), "is the directory there and writable?")?;
        }
        if !options.watch || findings.verdict() == Verdict::Fail {
            output.result(&findings, || table(&findings));
            return Ok(exit_code(findings.verdict()));
        }
        for row in findings.rows.iter().filter(|row| row.verdict == RowVerdict::Skipped) {
            output.step(&format!("not known: {}: {}", row.check, row.text));
        }
        output.step(&format!("{name}: nothing found"));
        thread::sleep(Duration::from_secs(options.interval));
    }
}

/// By what the gateway's evidence is judged.
fn judge_of(options: &DomainVerify) -> Outcome<Judge> {
    let release = released(Some(&options.image), &options.signers)?;
    let image = image_directory::read(&options.image)?;
    if let Some(release) = &release {
        release
            .accepts(&image, options.danger_accept_emulated)
            .map_err(|error| Failure::new(&error, error.hint()))?;
    }
    let rules = options.policy.as_deref().map(|path| {
        let text = files::read_bounded(path, MAX_RULES_BYTES as u64)?;
        Rules::parse(&text).hint(path.display(), "docs/policy.md lists every key with an example")
    });
    let app = stated_app(options)?;
    let named =
        |app: ExpectedApp| app_id(options, &app).map(|id| ExpectedApp { app_id: id, ..app });
    let anchor = anchor_if(options.danger_accept_emulated);
    Ok(Judge { image, anchor, rules: rules.transpose()?, app: app.map(named).transpose()? })
}

fn stated_app(options: &DomainVerify) -> Outcome<Option<ExpectedApp>> {
    let hash = options.compose_hash.as_deref().map(|text| {
        ComposeHash::from_hex(text)
            .hint(format!("--compose-hash {text}"), "give the SHA-256 of app-compose.json in hex")
    });
    let directory = options.app.clone().map(StatedApp::Directory);
    let stated = hash.transpose()?.map(StatedApp::Hash).or(directory);
    Ok(stated.map(|stated| stated.expected()).transpose()?.map(|(app, _)| app))
}

fn app_id(options: &DomainVerify, app: &ExpectedApp) -> Outcome<AppId> {
    options.app_id.as_deref().map_or(Ok(app.app_id), stated_app_id)
}

fn stated_app_id(text: &str) -> Outcome<AppId> {
    AppId::from_hex(text).hint(format!("--app-id {text}"), "give the 40 hex digits of its verdict")
}

/// Whose evidence counts.
fn gateway(options: &DomainVerify) -> Outcome<Gateway> {
    let app_id = match (&options.app_id, stated_app(options)?) {
        (Some(text), _) => stated_app_id(text)?,
        (None, Some(app)) => app.app_id,
        (None, None) => {
            let what = "no gateway was named";
            return Err(Failure::new(what, "state it with --app, --compose-hash or --app-id"));
        }
    };
    let key_provider_id = options.kms_id.as_deref().map(|text| {
        Sha256Digest::from_hex(text)
            .hint(format!("--kms-id {text}"), "give the 64 hex digits that `dstyx kms show` prints")
    });
    let key_provider_id = key_provider_id.transpose()?.map(|id| id.to_string());
    Ok(Gateway { app_id, key_provider_id })
}

fn sources(options: &DomainVerify, name: &DomainName) -> Outcome<Sources> {
    let evidence = match &options.evidence {
        Some(url) if url.starts_with("https://") => EvidenceSource::Url(url.clone()),
        Some(path) => EvidenceSource::File(path.into()),
        None => EvidenceSource::Url(default_evidence(name).ok_or_else(|| {
            Failure::new(
                format!("{name} has no name above it, so no gateway's"),
                "name the published evidence with --evidence",
            )
        })?),
    };
    let logs: Option<Vec<TiledLog>> = options
        .logs
        .as_deref()
        .map(|path| {
            let list = files::read_bounded(path, log_list::MAX_BYTES as u64)?;
            log_list::parse(&list).hint(path.display(), "give a log_list.json of version 3")
        })
        .transpose()?;
    if options.watch && logs.as_ref().is_none_or(Vec::is_empty) {
        let what = "--watch without a log of tiles";
        return Err(Failure::new(what, "give a list of logs with --logs"));
    }
    Ok(Sources {
        evidence,
        address: options.address,
        resolvers: options.resolver.clone(),
        aggregator: options.aggregator.clone(),
        logs: logs.unwrap_or_default(),
        watch: options.watch,
    })
}

fn roots(options: &DomainVerify) -> Outcome<Roots> {
    let Some(path) = &options.root else { return Ok(Roots::Machine) };
    let pem = files::read_bounded(path, MAX_ROOT_BYTES)?;
    let roots = parse_chain(&pem).hint(path.display(), "give certificates in PEM")?;
    Ok(Roots::Only(roots.into_iter().map(Into::into).collect()))
}

fn read_kept(path: &Path) -> Outcome<Kept> {
    if !path.exists() {
        return Ok(Kept::default());
    }
    let text = files::read_bounded(path, kept::MAX_BYTES as u64)?;
    Kept::parse(&text).hint(path.display(), "was it written by --state? name another file")
}

fn table(findings: &Findings) -> String {
    let mark = |row: &Row| match row.verdict {
        RowVerdict::Pass => "pass",
        RowVerdict::Fail => "FAIL",
        RowVerdict::Skipped => "skip",
    };
    let rows = findings.rows.iter();
    let rows = rows.map(|row| vec![mark(row).to_owned(), row.check.to_owned(), row.text.clone()]);
    let last = match findings.verdict() {
        Verdict::Pass => "every key that was found for the name has evidence of its gateway",
        Verdict::Fail => "FAIL: see the rows",
        Verdict::Incomplete => "not everything could be checked",
    };
    format!("{}\n{last}\n", columns(&rows.collect::<Vec<_>>()))
}

fn exit_code(verdict: Verdict) -> ExitCode {
    match verdict {
        Verdict::Pass => ExitCode::SUCCESS,
        Verdict::Fail => ExitCode::from(1),
        Verdict::Incomplete => ExitCode::from(2),
    }
}
