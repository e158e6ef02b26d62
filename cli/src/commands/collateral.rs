//! `dstyx collateral`: what verifying a quote takes beside it: fetched into the cache, and shown.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use attestation::{Summary, Wanted};
use pccs::INTEL_PCS;
use serde::Serialize;

use crate::args::{Collateral, FetchCollateral};
use crate::clock::now_secs;
use crate::collateral::{self, Cache};
use crate::commands::verify;
use crate::failure::{Hint as _, Outcome};
use crate::judge;
use crate::output::{Output, columns};

/// What one file is, for a program.
#[derive(Debug, Serialize)]
struct Shown {
    /// The file.
    path: PathBuf,
    /// Whether all its parts are within their dates now.
    current: bool,
    /// What it says of itself.
    #[serde(flatten)]
    summary: Summary,
}

/// Fetches, or shows.
pub fn run(options: &Collateral, output: &Output) -> Outcome<ExitCode> {
    match options {
        Collateral::Fetch(options) => fetch(options, output),
        Collateral::Show { file } => show(file.as_deref(), output),
    }
}

/// Asks the service even where the cache has something valid: that is what a person types it for.
fn fetch(options: &FetchCollateral, output: &Output) -> Outcome<ExitCode> {
    let source =
        verify::source(options.vm.as_deref(), options.url.as_deref(), options.evidence.as_deref())?;
    let now_secs = verify::time_of(options.at.as_deref())?;
    let gathered = judge::gather(&source, &[])?;
    let evidence = &gathered.converted.evidence;
    let anchor = judge::anchor_if(options.danger_accept_emulated);
    let key = attestation::platform_key(&evidence.quote);
    let key = key.hint(
        "which collateral the quote needs",
        "the quote must carry its platform's certificates",
    )?;
    let service =
        collateral::named_service(options.pccs.as_deref()).unwrap_or_else(|| INTEL_PCS.to_owned());
    let cache = Cache::of_user()?;
    output.step(&format!("asking {service} about {key}"));
    let wanted = Wanted { evidence, anchor: &anchor, now_secs };
    let fetched = collateral::fetch(wanted, &cache, &key, &service)?;
    let shown = describe(cache.path(anchor.name(), &key), &fetched, now_secs)?;
    output.result(&shown, || text(&shown));
    Ok(ExitCode::SUCCESS)
}

fn show(file: Option<&Path>, output: &Output) -> Outcome<ExitCode> {
    let now_secs = now_secs()?;
    let files = match file {
        Some(file) => vec![file.to_owned()],
        None => Cache::of_user()?.files()?,
    };
    let read = |path: PathBuf| {
        let collateral = collateral::read_file(&path, "give a QuoteCollateralV3 JSON file")?;
        describe(path, &collateral, now_secs)
    };
    let shown = files.into_iter().map(read).collect::<Outcome<Vec<_>>>()?;
    output.result(&shown, || match &shown[..] {
        [] => "the cache is empty; `dstyx collateral fetch` fills it\n".to_owned(),
        some => some.iter().map(text).collect::<Vec<_>>().join("\n"),
    });
    Ok(ExitCode::SUCCESS)
}

fn describe(path: PathBuf, collateral: &attestation::Collateral, now_secs: u64) -> Outcome<Shown> {
    let summary =
        collateral.summary().hint(path.display(), "fetch it again: `dstyx collateral fetch`")?;
    Ok(Shown { path, current: summary.is_current(now_secs), summary })
}

/// In words; what is said is the collateral's own, nothing of it is judged here.
fn text(shown: &Shown) -> String {
    let Shown { path, current, summary } = shown;
    let parts = [
        ("TCB info", &summary.tcb_info),
        ("QE identity", &summary.qe_identity),
        ("root CA's revocation list", &summary.root_ca_crl),
        ("PCK CA's revocation list", &summary.pck_crl),
    ];
    let mut rows = vec![
        vec![
            "for".to_owned(),
            format!("platforms of FMSPC {} by {}", summary.fmspc, summary.pck_ca),
        ],
        vec!["signed by".to_owned(), format!("{}, as it says", summary.signer)],
        vec!["TCB evaluation number".to_owned(), summary.tcb_evaluation_number.to_string()],
    ];
    rows.extend(parts.map(|(name, span)| {
        vec![name.to_owned(), format!("issued {}, next {}", span.issued, span.next_update)]
    }));
    rows.push(vec![
        "now".to_owned(),
        if *current { "valid" } else { "expired, or not valid yet" }.to_owned(),
    ]);
    format!("{}\n{}", path.display(), columns(&rows))
}
