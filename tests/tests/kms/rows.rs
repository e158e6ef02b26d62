//! PostgreSQL on a named volume: a row that was acknowledged is there after a power cut.

use std::time::{Duration, SystemTime};

use serde_json::Value;
use tests::dstyx::{Answer, User};
use tests::http;

use crate::notes::cut_power;

/// The longest time that rows are added before the cut, in seconds.
const LONGEST_WRITING_SECS: u32 = 15;

/// Adds rows until the power of the machine is cut at a random moment; those that were answered.
pub fn written_until_a_power_cut(user: &User, name: &str, up: &Answer) -> Vec<String> {
    let address = table(up);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let moment = Duration::from_nanos(now.subsec_nanos().into()) * LONGEST_WRITING_SECS;
    let mut acknowledged = Vec::new();
    add(&address, "first").expect("the table answers");
    acknowledged.push("first".to_owned());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(moment);
            cut_power(user, name);
        });
        for number in 0.. {
            let text = format!("row {number}");
            if add(&address, &text).is_none() {
                break;
            }
            acknowledged.push(text);
        }
    });
    println!("{} rows were acknowledged before a power cut after {moment:.1?}", acknowledged.len());
    acknowledged
}

/// Every row is there, and at most the one that was under way beside them.
pub fn are_there(up: &Answer, acknowledged: &[String]) {
    let found = shown(&table(up)).unwrap();
    assert!(found.starts_with(acknowledged), "{found:?} of {acknowledged:?}");
    assert!(found.len() <= acknowledged.len() + 1, "{found:?} of {acknowledged:?}");
}

/// Address of the program that shows the table.
fn table(up: &Answer) -> String {
    let mut tables = up.addresses().filter(|address| shown(address).is_some());
    tables.next().unwrap_or_else(|| panic!("no table: {up:#?}")).to_owned()
}

fn shown(address: &str) -> Option<Vec<String>> {
    let document: Value = serde_json::from_slice(&http::get(address, "/").ok()?).ok()?;
    let rows = document["rows"].as_array()?;
    Some(rows.iter().map(|text| text.as_str().unwrap().to_owned()).collect())
}

/// Nothing if the guest is gone before it answers.
fn add(address: &str, text: &str) -> Option<()> {
    let (status, body) =
        http::post_form(address, "/", &format!("text={}", text.replace(' ', "+"))).ok()?;
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    Some(())
}
