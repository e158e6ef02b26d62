//! Which image a service names, and when it is to be pulled.

use super::field::{Field, Findings, Section};
use super::reference::ImageReference;
use super::refusal::Cause;

/// The image of a service. What is built instead is refused with its way out, which names an image.
pub(super) fn named(section: &Section<'_>, findings: &mut Findings<'_>) -> Option<ImageReference> {
    match (section.get("image"), section.get("build")) {
        (None, Some(_)) => None,
        _ => section.required("image", findings, reference),
    }
}

fn reference(field: &Field<'_>, findings: &mut Findings<'_>) -> Option<ImageReference> {
    let text = field.text(findings)?;
    ImageReference::parse(&text).map_or_else(|cause| findings.refuse(field, cause.into()), Some)
}

/// Checks when the image is to be pulled, which changes nothing.
pub(super) fn pull_policy(service: &Section<'_>, findings: &mut Findings<'_>) {
    service.read("pull_policy", findings, |field, findings| match field.text(findings)?.as_str() {
        "always" | "missing" | "if_not_present" | "daily" | "weekly" => Some(()),
        text if text.starts_with("every_") => Some(()),
        "build" | "never" => {
            let reason = "a guest starts without images";
            findings
                .refuse(field, Cause::Unsupported { reason, hint: "use missing, or leave it out" })
        }
        other => field.invalid(
            "pull policy",
            other,
            "missing: an image by digest never changes",
            findings,
        ),
    });
}
