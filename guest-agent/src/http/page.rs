//! `GET /`: what runs here, measured by what, and how to verify it, for a person with a browser.
//!
//! Nothing on it is proof, and it says so: a page can claim anything.

use containers::app::App;
use maud::{Markup, html};
use protocol::app_status::{AppState, AppStatus};
use service::{Answer, page};

use super::app;
use crate::boot::Boot;

/// The page.
pub fn answer(boot: &Boot, running: &App) -> Answer {
    let status = app::status(running);
    let content = html! {
        h1 { (boot.app.name) }
        p { "This is a dstyx guest: a virtual machine on Intel TDX whose every byte is measured. The app's state is " strong { (state(status.state)) } "." }
        (measured(boot))
        @if boot.app.public_sysinfo { (containers(&status, boot.app.public_logs)) }
        (verifying(boot))
        (published(boot))
    };
    page::document(&format!("{} – dstyx guest", boot.app.name), &content)
}

fn measured(boot: &Boot) -> Markup {
    let handover = &boot.handover;
    let shape = &handover.claims.shape;
    html! {
        section {
            h2 { "Measured" }
            dl {
                dt { "compose hash" } dd { code { (handover.compose_hash) } small { "SHA-256 of app-compose.json, in RTMR3 before anything in it was used" } }
                dt { "app id" } dd { code { (handover.app_id) } }
                dt { "instance id" } dd { @match handover.instance_id { Some(id) => code { (id) }, None => "none" } }
            }
            h2 { "Claimed by the host" }
            dl {
                dt { "image" } dd { code { (handover.claims.os_image_hash) } small { "SHA-256 of image.json; MRTD and RTMR0 to 2 prove or refute it" } }
                dt { "machine" } dd { (shape.vcpus) " processors, " (shape.memory_mib) " MiB, QEMU " (shape.qemu_version) }
            }
        }
    }
}

fn containers(status: &AppStatus, logs: bool) -> Markup {
    html! {
        section {
            h2 { "Containers" }
            @if let Some(message) = &status.message { p { (message) } }
            div.wide { table {
                thead { tr { th { "container" } th { "state" } th { "image" } th { "ports" } } }
                tbody { @for container in &status.containers {
                    tr {
                        td { @if logs { a href={ "/logs/" (container.id) "?text&bare&tail=200" } { (container.id) } } @else { (container.id) } }
                        td { (container.detail) @if let Some(health) = &container.health { ", " (health) } }
                        td { code { (container.image) } }
                        td { @for port in &container.ports { span { (port) } " " } }
                    }
                } }
            } }
        }
    }
}

fn verifying(boot: &Boot) -> Markup {
    html! {
        section {
            h2 { "Do not believe this page" }
            p { "An attacker on the network can serve a copy of this page. Only evidence proves what a guest is: a quote signed by the processor, over a number that you choose, \
                 with the log of what was measured." }
            pre { code { "dstyx verify --url http://THIS-ADDRESS --image IMAGE-DIRECTORY --app APP-DIRECTORY" } }
            p { "It predicts every register from the image that you built or trust and from the app that you expect, and compares." }
            @if !boot.app.public_tcbinfo {
                p { "This app does not publish its registers or its app-compose.json; who has the file can still verify the guest." }
            }
        }
    }
}

fn published(boot: &Boot) -> Markup {
    let app = &boot.app;
    let rows = [
        (true, "/info", "ids, claims and registers"),
        (app.public_sysinfo, "/ps", "containers"),
        (app.public_sysinfo, "/stats", "what they use"),
        (app.public_sysinfo, "/events", "what happened"),
        (app.public_sysinfo, "/metrics", "figures for Prometheus"),
    ];
    html! {
        section {
            h2 { "More" }
            ul {
                @for (shown, path, what) in rows {
                    @if shown { li { a href=(path) { code { (path) } } " " (what) } }
                }
                li { code { "/evidence?nonce=" } " and 64 hexadecimal digits: a quote and its log" }
            }
        }
    }
}

fn state(state: AppState) -> &'static str {
    match state {
        AppState::Pulling => "fetching images",
        AppState::Starting => "starting",
        AppState::Running => "running",
        AppState::Failed => "failed",
        AppState::Stopping => "stopping",
        AppState::Stopped => "stopped",
    }
}
