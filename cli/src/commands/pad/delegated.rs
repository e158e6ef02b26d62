//! `dstyx pad enrol`, `push`, `revoke` and `audit`: a custodian and its key delegator, which is
//! verified before it is told anything.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use kms_rules::ledger::{Entry, Kind, MAX_LINE_BYTES};
use pad_format::custodian::Signatures;
use pad_format::enrolment::{self, SignedEnrolment};
use pad_format::grant::{Grant, Revocation, Statement};
use pad_format::{Conditions, Custodian, CustodianId, KeyName};
use protocol::app_compose;
use protocol::channel::OwnerProof;
use protocol::digest::{AppId, ComposeHash, OsImageHash, Sha256Digest};
use protocol::kms::{
    AuditRequest, AuditResponse, EnrolRequest, KmsService, PushKeyRequest, RevokeRequest,
};
use protocol::prpc::Empty;
use serde_json::json;
use zeroize::Zeroize as _;

use super::{members, shown};
use crate::app::APP_COMPOSE_FILE;
use crate::args::{PadAudit, PadEnrol, PadPush, PadRevoke};
use crate::failure::{Failure, Hint as _, Outcome};
use crate::kms::channel::{Calls as _, Connection, Target};
use crate::kms::named;
use crate::output::{self, Output};
use crate::owners_channel::ConnectionKey;
use crate::pad::custodian::Public;
use crate::pad::data_key::DataKeyFile;
use crate::pad::keys::MemberKeys;
use crate::pad::statements::{Collected, collected, waiting};
use crate::{files, new_file};

/// Access rights of what is written: it is signed, and no secret.
const MODE: u32 = 0o644;

impl ConnectionKey for MemberKeys {
    fn prove(&self, signed: &[u8]) -> OwnerProof {
        OwnerProof { key: self.public().0, signature: self.sign(signed) }
    }
}

/// Makes a KMS the delegator of a custodian.
pub fn enrol(options: &PadEnrol, output: &Output) -> Outcome<ExitCode> {
    let file = &options.file;
    let bytes = files::read_bounded(file, enrolment::MAX_BYTES as u64)?;
    let hint = "`dstyx pad enrol-file` writes it, with the keys of as many members as decide";
    let signed = SignedEnrolment::parse(&bytes).hint(file.display(), hint)?;
    let id = signed.claimed().custodian.id();
    let verified = signed.verify(&id).hint(file.display(), hint)?;
    let target = named::target(&options.at)?;
    check_delegator(&target, verified.enrolment().key_provider_id)?;
    let mut connection = connected(&target, MemberKeys::load(&options.key)?)?;
    let request = EnrolRequest { custodian: id.0.0.to_vec(), enrolment: bytes };
    let _: Empty = connection.call("Enrol", &request)?;
    let version = verified.enrolment().version;
    let delegator = target.rules.key_provider_id;
    let document = json!({ "custodian": id.0, "key_provider_id": delegator, "version": version });
    output.result(&document, || {
        output::named([
            ("custodian", shown(&id)),
            ("delegator", delegator.to_string()),
            ("version", version.to_string()),
        ]) + "enrolled; `dstyx pad push` hands over keys\n"
    });
    Ok(ExitCode::SUCCESS)
}

/// Hands a Pad's key to the delegator, with the conditions of its release.
pub fn push(options: &PadPush, output: &Output) -> Outcome<ExitCode> {
    let file = DataKeyFile::load(&options.file)?;
    let members = members(&options.key)?;
    let custodian = custodian_of(&file, options.custodian.as_deref(), &members)?;
    let target = named::target(&options.at)?;
    let signed = match &options.signed {
        Some(waits) => waiting::<Grant>(waits)?,
        None => {
            let grant = Grant {
                name: key_name(&file),
                key_provider_id: target.rules.key_provider_id,
                version: options.number,
                digest: file.key.digest(),
                conditions: conditions(options, &file)?,
            };
            grant.signed(Signatures::default())
        }
    };
    let granted = signed.claimed().clone();
    if granted.name != key_name(&file) || granted.digest != file.key.digest() {
        return Err(Failure::new("the grant is of another key", "give the key file of its Pad"));
    }
    check_delegator(&target, granted.key_provider_id)?;
    let collected = collected(signed, &custodian, &members)?;
    if let Some(code) = written(&collected, options.out.as_deref(), output)? {
        return Ok(code);
    }
    let mut connection = connected(&target, first(members)?)?;
    let key = file.key.as_bytes().to_vec();
    let mut request = PushKeyRequest { grant: collected.signed.to_bytes(), key };
    let pushed: Outcome<Empty> = connection.call("PushKey", &request);
    request.key.zeroize();
    pushed?;
    let (pad_id, version) = (file.pad_id, granted.version);
    let document = json!({ "pad_id": pad_id.to_string(), "version": version });
    output.result(&document, || {
        output::named([
            ("Pad", pad_id.to_string()),
            ("custodian", shown(&file.custodian)),
            ("grant", format!("version {version}")),
        ]) + "the delegator has the key, and releases it as the grant says\n"
    });
    Ok(ExitCode::SUCCESS)
}

/// Ends the release of a Pad's key.
pub fn revoke(options: &PadRevoke, output: &Output) -> Outcome<ExitCode> {
    let file = DataKeyFile::load(&options.file)?;
    let members = members(&options.key)?;
    let custodian = custodian_of(&file, options.custodian.as_deref(), &members)?;
    let target = named::target(&options.at)?;
    let key_provider_id = target.rules.key_provider_id;
    let signed = match &options.signed {
        Some(waits) => waiting::<Revocation>(waits)?,
        None => Revocation { name: key_name(&file), key_provider_id }.signed(Signatures::default()),
    };
    if signed.claimed().name != key_name(&file) {
        return Err(Failure::new("it revokes another key", "give the key file of its Pad"));
    }
    let collected = collected(signed, &custodian, &members)?;
    if let Some(code) = written(&collected, options.out.as_deref(), output)? {
        return Ok(code);
    }
    let mut connection = connected(&target, first(members)?)?;
    let request = RevokeRequest { revocation: collected.signed.to_bytes() };
    let _: Empty = connection.call("Revoke", &request)?;
    output.result(&json!({ "pad_id": file.pad_id.to_string() }), || {
        format!("the key of Pad {} is released no more, for ever\n", file.pad_id)
    });
    Ok(ExitCode::SUCCESS)
}

/// Writes the delegator's entries that are about a custodian.
pub fn audit(options: &PadAudit, output: &Output) -> Outcome<ExitCode> {
    new_file::refuse_existing(&options.out)?;
    let keys = MemberKeys::load(&options.key)?;
    let custodian = match &options.custodian {
        Some(file) => Public::load(file)?.custodian,
        None => keys.custodian(),
    };
    let id = custodian.id();
    let mut connection = connected(&named::target(&options.at)?, keys)?;
    let lines = entries(&mut connection, &id)?;
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    new_file::write_new(&options.out, MODE, text.as_bytes())?;
    let count = |is: fn(&Kind) -> bool| {
        let kinds = lines.iter().filter_map(|line| Entry::parse(line).ok());
        kinds.filter(|entry| is(&entry.kind)).count()
    };
    let released = count(|kind| matches!(kind, Kind::PadKeysReleased(_)));
    let spent = count(|kind| matches!(kind, Kind::QuotasSpent(_)));
    let records = count(|kind| matches!(kind, Kind::AuditHeadGiven(_)));
    let document = json!({
        "file": options.out, "entries": lines.len(), "released": released, "spent": spent,
        "records": records,
    });
    output.result(&document, || {
        output::named([
            ("entries", lines.len().to_string()),
            ("releases of keys", released.to_string()),
            ("calls that used quotas", spent.to_string()),
            ("entries of audit records", records.to_string()),
        ]) + "what guests were is the word of the delegator; what members signed, their signatures prove\n"
    });
    Ok(ExitCode::SUCCESS)
}

fn entries(connection: &mut Connection, id: &CustodianId) -> Outcome<Vec<String>> {
    let custodian = id.0.0.to_vec();
    let (mut lines, mut from, mut last) = (Vec::new(), 0, None);
    loop {
        let request = AuditRequest { custodian: custodian.clone(), from };
        let page: AuditResponse = connection.call("Audit", &request)?;
        for line in page.entries {
            let entry = Entry::parse(&line).hint("the delegator's entries", "try again")?;
            if last.is_some_and(|last| entry.index <= last) || line.len() > MAX_LINE_BYTES {
                return Err(Failure::new("the delegator's entries are out of order", "try again"));
            }
            last = Some(entry.index);
            lines.push(line);
        }
        if page.next >= page.total {
            return Ok(lines);
        }
        if page.next <= from {
            return Err(Failure::new("the delegator gives the same entries again", "try again"));
        }
        from = page.next;
    }
}

/// A channel to the delegator, which proved what it is.
fn connected(target: &Target, keys: MemberKeys) -> Outcome<Connection> {
    Ok(Connection::open_as(KmsService::Custodian, target, Arc::new(keys))?)
}

fn first(members: Vec<MemberKeys>) -> Outcome<MemberKeys> {
    let member = members.into_iter().next();
    member.ok_or_else(|| Failure::new("no key signs the connection", "give a member's with --key"))
}

fn check_delegator(target: &Target, found: Sha256Digest) -> Outcome<()> {
    let expected = target.rules.key_provider_id;
    if found == expected {
        return Ok(());
    }
    Err(Failure::new(
        format!("it names the delegator {found}, and this KMS is {expected}"),
        "name the other KMS with --kms, or sign it for this one",
    ))
}

fn key_name(file: &DataKeyFile) -> KeyName {
    let DataKeyFile { custodian, key_id, pad_id, .. } = file;
    KeyName { custodian: *custodian, key_id: key_id.clone(), pad_id: *pad_id }
}

/// The custodian of a key: that of the public file, or the one member.
fn custodian_of(
    file: &DataKeyFile,
    public: Option<&Path>,
    members: &[MemberKeys],
) -> Outcome<Custodian> {
    let custodian = match (public, members) {
        (Some(public), _) => Public::load(public)?.custodian,
        (None, [member]) => member.custodian(),
        (None, _) => {
            let what = "it is not said whose key it is";
            return Err(Failure::new(what, "give the custodian's public file with --custodian"));
        }
    };
    let (found, expected) = (custodian.id(), file.custodian);
    if found == expected {
        return Ok(custodian);
    }
    Err(Failure::new(
        format!("the key is of the custodian {expected}, and this is {found}"),
        "give the public file of the Pad's custodian with --custodian",
    ))
}

/// Writes a statement for more members to sign, if it is to be written or too few signed.
fn written<T: Statement>(
    collected: &Collected<T>,
    out: Option<&Path>,
    output: &Output,
) -> Outcome<Option<ExitCode>> {
    let Some(out) = out else {
        return match collected.is_complete {
            true => Ok(None),
            false => Err(Failure::new(
                format!("too few members signed the {}", T::NAME),
                "give more --key, or write it with --out for others, who go on with --signed",
            )),
        };
    };
    new_file::write_new(out, MODE, &collected.signed.to_bytes())?;
    let document = json!({ "file": out, "complete": collected.is_complete });
    output.result(&document, || {
        let state = if collected.is_complete {
            "enough members signed"
        } else {
            "more members have to sign"
        };
        format!("{}: {state}; go on with --signed and this file\n", out.display())
    });
    Ok(Some(ExitCode::SUCCESS))
}

/// What the options state.
fn conditions(options: &PadPush, file: &DataKeyFile) -> Outcome<Conditions> {
    let mut os_images = Vec::new();
    for image in &options.image {
        os_images.push(OsImageHash::of(&files::read_image_json(image)?));
    }
    let mut apps = Vec::new();
    for app in &options.app {
        apps.push(app_of(app, options.app_id.as_deref())?);
    }
    os_images.sort_unstable();
    os_images.dedup();
    apps.sort_unstable();
    apps.dedup();
    let PadPush { danger_privileged, releases, until_secs: not_after_secs, .. } = *options;
    let engines = file.engines.clone();
    Ok(Conditions { os_images, apps, engines, danger_privileged, releases, not_after_secs })
}

/// The app of a measured file; its id is that of its first version.
fn app_of(path: &Path, id: Option<&str>) -> Outcome<(AppId, ComposeHash)> {
    let path = if path.is_dir() { path.join(APP_COMPOSE_FILE) } else { path.to_owned() };
    let bytes = files::read_bounded(&path, app_compose::MAX_BYTES as u64)?;
    let hint = "give the app-compose.json with which the guest is started, or its directory";
    let hash = app_compose::parse(&bytes).hint(path.display(), hint)?.hash;
    let id = id.map(AppId::from_hex).transpose();
    let id = id.hint("--app-id", "40 lower-case hexadecimal digits")?;
    Ok((id.unwrap_or_else(|| AppId::from_compose_hash(&hash)), hash))
}

#[cfg(test)]
mod tests {
    use pad_format::grant::Signed;
    use pad_format::metadata::KeyId;
    use pad_format::{DataKey, PadDigest, PadId};

    use super::*;

    fn key_file(custodian: &Custodian) -> DataKeyFile {
        DataKeyFile {
            pad_id: PadId::generate().unwrap(),
            pad: PadDigest(Sha256Digest([1; 32])),
            custodian: custodian.id(),
            key_id: KeyId::new(b"key-1").unwrap(),
            engines: vec![Sha256Digest([2; 32])],
            key: DataKey::generate().unwrap(),
        }
    }

    fn grant(file: &DataKeyFile) -> Signed<Grant> {
        let grant = Grant {
            name: key_name(file),
            key_provider_id: Sha256Digest([3; 32]),
            version: 1,
            digest: file.key.digest(),
            conditions: Conditions::default(),
        };
        grant.signed(Signatures::default())
    }

    #[test]
    fn members_sign_a_grant_apart_from_each_other_until_there_are_enough() {
        let [a, b, stranger] = [(); 3].map(|()| MemberKeys::generate().unwrap());
        let joint = Custodian::joint(vec![a.public(), b.public()], 2).unwrap();
        let file = key_file(&joint);
        let directory = tempfile::tempdir().unwrap();
        let (out, output) = (directory.path().join("grant"), Output::new(true));
        let first = collected(grant(&file), &joint, &[a]).unwrap();
        assert!(!first.is_complete);
        assert!(written(&first, None, &output).is_err());
        assert!(written(&first, Some(&out), &output).unwrap().is_some());
        let both = collected(waiting::<Grant>(&out).unwrap(), &joint, &[b]).unwrap();
        assert!(both.is_complete && written(&both, None, &output).unwrap().is_none());
        assert!(both.signed.verify(&joint).is_ok());
        assert!(collected(grant(&file), &joint, &[stranger]).is_err());
        assert!(waiting::<Revocation>(&out).is_err());
    }

    #[test]
    fn a_key_is_pushed_by_its_custodian_alone() {
        let [a, b] = [(); 2].map(|()| MemberKeys::generate().unwrap());
        let file = key_file(&a.custodian());
        assert!(custodian_of(&file, None, &[b]).is_err());
        let a = [a];
        assert_eq!(custodian_of(&file, None, &a).unwrap().id(), file.custodian);
        assert!(custodian_of(&file, None, &[]).is_err());
    }

    #[test]
    fn an_app_is_its_measured_file_and_the_id_of_its_first_version() {
        let directory = tempfile::tempdir().unwrap();
        let file = app_compose::generate("app", "services: {}\n").unwrap();
        std::fs::write(directory.path().join(APP_COMPOSE_FILE), &file).unwrap();
        let hash = ComposeHash::of(&file);
        let of = |id: Option<&str>| app_of(directory.path(), id).unwrap();
        assert_eq!(of(None), (AppId::from_compose_hash(&hash), hash));
        assert_eq!(of(Some(&"0a".repeat(20))), (AppId([10; 20]), hash));
        assert!(app_of(directory.path(), Some("0A")).is_err());
    }
}
