//! The page: one HTML document without scripts, pictures or anything from elsewhere.

use std::fmt::Write as _;

use serde_json::Value;

use crate::info::InfoError;

const HEAD: &str = "<!doctype html>
<html lang=en>
<meta charset=utf-8>
<meta name=viewport content='width=device-width, initial-scale=1'>
<title>hello from a dstyx guest</title>
<style>
:root { color-scheme: light dark; --line: light-dark(#d8dee4, #30363d); --dim: light-dark(#57606a, #8b949e);
        --card: light-dark(#f6f8fa, #161b22); }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; }
h2 { font-size: 1.05rem; margin: 2rem 0 .5rem; }
p { margin: .5rem 0; }
.dim { color: var(--dim); }
dl { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: .5rem; }
dl div { padding: .6rem .9rem; }
dl div + div { border-top: 1px solid var(--line); }
dt { font-weight: 600; }
dt small { font-weight: 400; color: var(--dim); }
dd { margin: .15rem 0 0; overflow-wrap: anywhere; }
code { font: .85rem/1.45 ui-monospace, monospace; }
</style>
";

/// A row: what it is called, what it means, where it stands in the agent's document.
type Row = (&'static str, &'static str, &'static str);

const APP: [Row; 4] = [
    ("Name", "from the measured app-compose", "/app_name"),
    ("App", "stays the same over updates of one deployment", "/app_id"),
    ("Instance", "this one machine", "/instance_id"),
    ("Compose hash", "of the app-compose file, in RTMR3", "/compose_hash"),
];

const IMAGE: [Row; 4] = [
    ("OS image", "hash of image.json, as the host claims it", "/os_image_hash"),
    ("vCPUs", "as claimed; RTMR0 proves it", "/vm_config/cpu_count"),
    ("Memory in bytes", "as claimed; RTMR0 proves it", "/vm_config/memory_size"),
    ("QEMU", "as claimed; RTMR0 proves it", "/vm_config/qemu_version"),
];

const REGISTERS: [Row; 5] = [
    ("MRTD", "firmware", "/tcb_info/mrtd"),
    ("RTMR0", "firmware's configuration and ACPI tables", "/tcb_info/rtmr0"),
    ("RTMR1", "kernel", "/tcb_info/rtmr1"),
    ("RTMR2", "command line and initramfs", "/tcb_info/rtmr2"),
    ("RTMR3", "the app and what happened since", "/tcb_info/rtmr3"),
];

/// The page for what the agent said.
pub fn page(info: &Result<Value, InfoError>) -> String {
    let mut html = HEAD.to_owned();
    match info {
        Ok(info) => facts(&mut html, info),
        Err(error) => {
            let error = escape(&error.to_string());
            // Writing into a string cannot fail, here and below.
            let _ = write!(
                html,
                "<h1>Hello</h1><p>This container runs, but not in a dstyx guest: {error}."
            );
        }
    }
    html
}

fn facts(html: &mut String, info: &Value) {
    html.push_str(
        "<h1>Hello from a dstyx guest</h1>\
         <p class=dim>This page is served by a container. Its guest was measured before it ran:",
    );
    for (title, rows) in
        [("The app", &APP[..]), ("The machine", &IMAGE), ("The registers", &REGISTERS)]
    {
        table(html, title, rows, info);
    }
    html.push_str(
        "<h2>Do not take this page's word for it</h2>\
         <p>A page can say anything. Ask the guest for evidence and recompute every register yourself: \
         <p><code>dstyx verify --vm NAME</code>",
    );
}

fn table(html: &mut String, title: &str, rows: &[Row], info: &Value) {
    let _ = write!(html, "<h2>{title}</h2><dl>");
    for (name, meaning, pointer) in rows {
        let value = match info.pointer(pointer) {
            Some(Value::String(text)) => escape(text),
            Some(Value::Number(number)) => number.to_string(),
            _ => "not published".into(),
        };
        let _ =
            write!(html, "<div><dt>{name} <small>{meaning}</small><dd><code>{value}</code></div>");
    }
    html.push_str("</dl>");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_agent_says_is_shown() {
        let info = serde_json::json!({
            "app_name": "hello", "app_id": "0a1b", "instance_id": null, "compose_hash": "c0", "os_image_hash": "05",
            "vm_config": {"cpu_count": 2, "memory_size": 2048, "qemu_version": "11.1.3"},
            "tcb_info": {"mrtd": "d0", "rtmr0": "r0", "rtmr1": "r1", "rtmr2": "r2", "rtmr3": "r3"},
        });
        let html = page(&Ok(info));
        for shown in ["0a1b", "c0", "2048", "11.1.3", "d0", "r0", "r1", "r2", "r3"] {
            assert!(html.contains(&format!("<code>{shown}</code>")), "{shown}");
        }
        assert_eq!(html.matches("not published").count(), 1);
    }

    #[test]
    fn text_cannot_become_markup() {
        let html = page(&Ok(serde_json::json!({"app_name": "<script>\"&"})));
        assert!(html.contains("&lt;script&gt;&quot;&amp;") && !html.contains("<script"));
    }

    #[test]
    fn a_silent_guest_is_said_so() {
        let html = page(&Err(InfoError::Answer("is no JSON")));
        assert!(html.contains("not in a dstyx guest: the agent's answer is no JSON"));
    }
}
