//! A case to judge, and a row: a case that passes, one thing that is then wrong with it, and what
//! must refuse.

use std::sync::LazyLock;

use attestation::policy::{
    ExpectedApp, ExpectedRegister, ExpectedRegisters, ExpectedReportData, Policy, Prediction,
};
use attestation::{
    Appraisal, CheckName, CheckVerdict, Collateral, TrustAnchor, Verdict, VerifiedImage,
};
use protocol::digest::{ComposeHash, OsImageHash};
use protocol::evidence::Evidence;
use serde_json::Value;
use tdx_emulator::lie::Lie;
use tests::emulated;
use tests::scene::{NONCE, Scene, now_secs};

/// The image that everything is judged by.
pub const IMAGE: OsImageHash = OsImageHash([0x11; 32]);

/// What is judged, by what, and when.
#[derive(Clone)]
pub struct Case {
    /// Guest, host and hardware.
    pub scene: Scene,
    /// What happens to the evidence on its way.
    pub evidence: fn(&mut Evidence),
    /// What happens to the collateral on its way.
    pub collateral: fn(&mut Value),
    /// What the verifier wants.
    pub policy: Policy,
    /// Seconds since 1970.
    pub now_secs: u64,
}

/// One row of the table.
pub struct Row {
    /// What is wrong.
    pub name: &'static str,
    /// What is different from [`Case::honest`] without being wrong: the control has it too. `None`:
    /// nothing, and the control is the one of all such rows.
    pub given: Option<fn(&mut Case)>,
    /// What is wrong.
    pub wrong: fn(&mut Case),
    /// The checks that fail, all of them, in the judgement's order.
    pub fails: &'static [CheckName],
    /// What the first of them says, in a part that tells this row from its neighbours.
    pub message: &'static str,
}

/// A row with nothing given.
pub fn row(
    name: &'static str,
    fails: &'static [CheckName],
    message: &'static str,
    wrong: fn(&mut Case),
) -> Row {
    Row { name, given: None, wrong, fails, message }
}

/// A row about hardware or collateral that lie.
macro_rules! lie {
    ($lie:ident, $fails:expr, $message:expr) => {
        $crate::case::row(concat!("the lie ", stringify!($lie)), $fails, $message, |case| {
            case.scene.lie = Some(tdx_emulator::lie::Lie::$lie)
        })
    };
}
pub(crate) use lie;

impl Case {
    /// Everything as it should be.
    pub fn honest() -> Self {
        static POLICY: LazyLock<Policy> = LazyLock::new(|| policy(&Scene::synthetic()));
        let (scene, policy) = (Scene::synthetic(), POLICY.clone());
        Self { scene, policy, evidence: |_| {}, collateral: |_| {}, now_secs: now_secs() }
    }

    /// Nothing is wrong with it.
    fn passes(&self) -> Result<(), String> {
        match self.judged() {
            (Appraisal { verdict: Verdict::Pass, .. }, true) => Ok(()),
            (control, _) => Err(format!("the control is refused: {:?}", control.refusal())),
        }
    }

    fn judged(&self) -> (Appraisal, bool) {
        let mut evidence = self.scene.evidence(IMAGE);
        (self.evidence)(&mut evidence);
        let mut collateral = serde_json::from_slice(&self.scene.collateral_json()).unwrap();
        (self.collateral)(&mut collateral);
        let collateral = Collateral::parse(collateral.to_string().as_bytes()).unwrap();
        let appraisal =
            attestation::judge(&evidence, &self.policy, Some(&collateral), self.now_secs);
        let verified = appraisal.clone().into_verified();
        assert_eq!(
            verified.as_ref().err(),
            appraisal.refusal().as_ref(),
            "verdict and fact disagree"
        );
        (appraisal, verified.is_ok())
    }
}

impl Row {
    /// What is wrong, and which checks say so.
    pub fn title(&self) -> String {
        let checks: Vec<_> = self.fails.iter().map(|check| check.name()).collect();
        format!("{} => {}", self.name, checks.join(", "))
    }

    /// The lie of hardware or collateral, if the row is about one.
    pub fn lie_told(&self) -> Option<Lie> {
        self.case(true).scene.lie
    }

    /// Passes without what is wrong; with it, fails in exactly these checks, with this message.
    pub fn holds(&self) -> Result<(), String> {
        match self.given {
            Some(_) => self.case(false).passes()?,
            None => honest_passes()?,
        }
        let (appraisal, verified) = self.case(true).judged();
        let failed: Vec<_> = appraisal
            .checks
            .iter()
            .filter(|row| row.verdict == CheckVerdict::Fail)
            .map(|row| row.name)
            .collect();
        if verified || failed != self.fails {
            let names = |checks: &[CheckName]| {
                checks.iter().map(|check| check.name()).collect::<Vec<_>>().join(", ")
            };
            return Err(format!("failed: {}; must fail: {}", names(&failed), names(self.fails)));
        }
        let refusal = appraisal.refusal().ok_or("a failed check without refusal")?;
        let shown = format!("{refusal}; {}", refusal.hint());
        if shown.contains(self.message) {
            Ok(())
        } else {
            Err(format!("{:?} is not in: {shown}", self.message))
        }
    }

    fn case(&self, wrong: bool) -> Case {
        let mut case = Case::honest();
        if let Some(given) = self.given {
            given(&mut case);
        }
        if wrong {
            (self.wrong)(&mut case);
        }
        case
    }
}

/// The control of every row that gives nothing: judged once.
fn honest_passes() -> Result<(), String> {
    static HONEST: LazyLock<Result<(), String>> = LazyLock::new(|| Case::honest().passes());
    HONEST.clone()
}

/// The strict policy for a scene, with image and app stated.
fn policy(scene: &Scene) -> Policy {
    let mut policy = Policy::strict(
        TrustAnchor::DangerEmulated(emulated::root()),
        ExpectedReportData::Nonce(NONCE),
    );
    let predicted = scene.prediction().registers;
    policy.image = Some(ExpectedRegisters {
        identity: VerifiedImage {
            os_image_hash: IMAGE,
            shape: scene.shape.clone(),
            believed: Vec::new(),
            reserves_report_data: true,
        },
        mrtd: expected(predicted.mrtd.0),
        rtmr0: expected(predicted.rtmr0.0),
        rtmr1: expected(predicted.rtmr1.0),
        rtmr2: expected(predicted.rtmr2.0),
    });
    let compose_hash = ComposeHash::of(&scene.app_compose());
    policy.app = Some(ExpectedApp::of(compose_hash));
    policy
}

fn expected(value: [u8; 48]) -> Prediction {
    let source = "the stated shape".to_owned();
    Prediction::Value(ExpectedRegister { value, source, cross_check: None, explanation: None })
}
