//! Times: the host sets the clock, and what was seen before is not forgotten.

use crate::judge::Rules as _;

use super::*;

#[test]
fn a_clock_that_is_set_back_judges_nobody_by_an_earlier_time() {
    let data = tempfile::tempdir().unwrap();
    let (member, _) = Place::new(data.path(), 1, 1).serving();
    let built = 1_700_000_000; // a clock at the build date
    let last = member.inner().unwrap().state().last_secs();
    assert_eq!(member.terms(built).unwrap().now_secs, last);
    // Collateral of a later issue was seen: Intel's time is past that.
    let issued = last + 20 * 24 * 3600;
    let newer = Guest { collateral_issued_secs: issued, ..guest(1) };
    let request = Request::GetAppKey(GetAppKeyRequest::default());
    let _: AppKeyResponse = call(&member, &Caller::Guest(Box::new(newer)), request).unwrap();
    assert_eq!(member.terms(built).unwrap().now_secs, issued);
    assert_eq!(member.terms(issued + 1).unwrap().now_secs, issued + 1);
}
