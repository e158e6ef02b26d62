//! Files of the program `age`, files that it opened, and what is near to them.

use super::keys::KeyError;
use super::*;

/// What `age-keygen` of age 1.1.1 wrote.
const IDENTITY: &str = include_str!("../../../tests/vectors/age/identity.txt");
/// The content of the vectors.
const CONTENT: &[u8] = include_bytes!("../../../tests/vectors/age/share.json");
/// What `age -r` of age 1.1.1 wrote.
const BY_AGE: &[u8] = include_bytes!("../../../tests/vectors/age/by-age.age");
/// What is written here of [`fresh`], and `age -d` of age 1.1.1 opened.
const OURS: &[u8] = include_bytes!("../../../tests/vectors/age/ours.age");
/// What `age -r … -r …` wrote.
const TWO: &[u8] = include_bytes!("../../../tests/vectors/age/two-recipients.age");

fn identity() -> Identity {
    Identity::parse(IDENTITY.as_bytes()).unwrap()
}

fn fresh() -> Fresh {
    Fresh { file_key: Zeroizing::new([1; 16]), ephemeral: Zeroizing::new([2; 32]), nonce: [3; 16] }
}

#[test]
fn a_file_of_age_opens_and_age_opens_ours() {
    assert_eq!(open(&identity(), BY_AGE).unwrap()[..], *CONTENT);
    let written = sealed(&identity().recipient(), CONTENT, &fresh()).unwrap();
    assert_eq!(written, OURS);
    assert_eq!(open(&identity(), OURS).unwrap()[..], *CONTENT);
}

#[test]
fn no_two_files_are_alike_and_each_opens() {
    for length in [0, 1, 88, MAX_CONTENT_BYTES] {
        let content = vec![7; length];
        let [one, two] = [(); 2].map(|()| seal(&identity().recipient(), &content).unwrap());
        assert_ne!(one[..HEADER_BYTES], two[..HEADER_BYTES]);
        assert_eq!(open(&identity(), &one).unwrap()[..], content);
        assert_eq!(open(&identity(), &two).unwrap()[..], content);
        assert!(one.len() <= MAX_FILE_BYTES);
    }
    let large = vec![7; MAX_CONTENT_BYTES + 1];
    let refused = seal(&identity().recipient(), &large);
    assert_eq!(refused, Err(AgeError::Content { found: MAX_CONTENT_BYTES + 1 }));
}

#[test]
fn whatever_byte_is_changed_cut_off_or_added_the_file_does_not_open() {
    for place in 0..BY_AGE.len() {
        let mut changed = BY_AGE.to_vec();
        changed[place] ^= 1;
        open(&identity(), &changed).unwrap_err();
        open(&identity(), &BY_AGE[..place]).unwrap_err();
    }
    open(&identity(), &[BY_AGE, b"\n"].concat()).unwrap_err();
    let mut content = BY_AGE.to_vec();
    *content.last_mut().unwrap() ^= 1;
    assert_eq!(open(&identity(), &content), Err(AgeError::Altered("content")));
    let mut mac = BY_AGE.to_vec();
    mac[HEADER_BYTES - 10] = if mac[HEADER_BYTES - 10] == b'A' { b'B' } else { b'A' };
    assert_eq!(open(&identity(), &mac), Err(AgeError::Altered("header")));
}

#[test]
fn another_key_opens_nothing_and_several_recipients_are_not_taken() {
    let line = "AGE-SECRET-KEY-1";
    let other = IDENTITY.lines().find(|text| text.starts_with(line)).unwrap();
    let mut secret = *identity().secret();
    secret[3] ^= 1;
    let hrp = bech32::Hrp::parse_unchecked("age-secret-key-");
    let text = bech32::encode_upper::<bech32::Bech32>(hrp, &secret).unwrap();
    assert_eq!(text.len(), other.len());
    let stranger = Identity::parse(text.as_bytes()).unwrap();
    assert_eq!(open(&stranger, BY_AGE), Err(AgeError::Foreign));
    assert_eq!(open(&identity(), TWO), Err(AgeError::Form("more than one stanza")));
}

#[test]
fn points_of_low_order_keep_nothing_secret_and_are_refused() {
    for low in [[0; 32], {
        let mut one = [0; 32];
        one[0] = 1;
        one
    }] {
        let refused = seal(&Recipient(low), b"x");
        assert_eq!(refused, Err(AgeError::LowOrder("recipient")));
        let share = BASE64.encode(low);
        let text = String::from_utf8_lossy(&BY_AGE[..HEADER_BYTES]).into_owned();
        let known = text.lines().nth(1).unwrap().split(' ').nth(2).unwrap().to_owned();
        let header = text.replace(&known, &share);
        let file = [header.as_bytes(), &BY_AGE[HEADER_BYTES..]].concat();
        assert_eq!(open(&identity(), &file), Err(AgeError::LowOrder("file's share")));
    }
}

#[test]
fn keys_have_one_spelling_and_nothing_else_is_one() {
    let recipient = identity().recipient();
    let text = recipient.to_string();
    assert!(IDENTITY.contains(&text), "age-keygen writes it in a comment");
    assert_eq!(Recipient::parse(&text), Ok(recipient));
    let changed = text.replacen("age1y", "age1z", 1);
    for wrong in [text.to_uppercase(), format!("{text} "), changed, "age1".into(), String::new()] {
        assert_eq!(Recipient::parse(&wrong), Err(KeyError::Recipient), "{wrong}");
    }
    let secret = IDENTITY.lines().last().unwrap();
    assert_eq!(Recipient::parse(secret), Err(KeyError::Recipient));
    let parse = |text: &str| Identity::parse(text.as_bytes()).map(|identity| identity.recipient());
    assert_eq!(parse(secret), Ok(recipient));
    assert_eq!(parse(&format!("# key\n\n{secret}\n")), Ok(recipient));
    assert_eq!(parse("# none\n"), Err(KeyError::Count { found: 0 }));
    assert_eq!(parse(&format!("{secret}\n{secret}\n")), Err(KeyError::Count { found: 2 }));
    for wrong in [secret.to_lowercase(), text, "-----BEGIN".to_owned(), format!("{secret} ")] {
        assert_eq!(parse(&wrong), Err(KeyError::Identity { line: 1 }), "{wrong}");
    }
    assert_eq!(Identity::parse(&[0xff]).err(), Some(KeyError::Text));
    assert_eq!(format!("{:?}", identity()), format!("Identity({recipient})"));
}
