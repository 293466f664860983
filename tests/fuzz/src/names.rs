//! What people type: names, recipients, addresses, keys, fingerprints, what to search for, and the settings of a client.

use peerchat_core::identity::PublicKey;
use peerchat_core::search::Query;
use peerchat_core::{BootstrapAddress, Config, Passphrase, Recipient, UserId, UserName};

use crate::input::{Input, Script};

/// What was understood is shown in a form that means the same.
pub fn target(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        understood(text);
    }
    configured(&mut Input::new(data));
}

fn understood(text: &str) {
    if let Ok(name) = UserName::parse(text) {
        assert_eq!(UserName::parse(name.as_str()), Ok(name.clone()));
        assert_eq!(name.to_string().parse(), Ok(name));
    }
    if let Ok(recipient) = Recipient::parse(text) {
        assert_eq!(Recipient::parse(&recipient.to_string()), Ok(recipient.clone()));
        let _ = recipient.admits(&UserId::from_bytes([7; 32]));
    }
    if let Ok(address) = text.parse::<BootstrapAddress>() {
        assert_eq!(address.to_string().parse(), Ok(address));
    }
    if let Ok(user) = text.parse::<UserId>() {
        assert_eq!(user.to_string().parse(), Ok(user));
        assert!(Recipient::parse(&format!("alice#{}", user.fingerprint())).is_ok_and(|to| to.admits(&user)));
    }
    if let Ok(key) = text.parse::<PublicKey>() {
        assert_eq!(key.to_string().parse(), Ok(key));
    }
    if let Ok(query) = Query::parse(text) {
        assert!(query.matches(text), "a text has its own words");
        assert!(!query.matches(""));
    }
}

/// A configuration is made or refused; nothing is opened.
fn configured(input: &mut Input<'_>) {
    let numbers: [u64; 5] = std::array::from_fn(|_| input.number());
    let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let texts: [String; 3] = std::array::from_fn(|_| String::from_utf8_lossy(input.bytes()).into_owned());
    let mut builder = Config::in_memory()
        .network(&texts[0])
        .k(size(numbers[0]))
        .alpha(size(numbers[1]))
        .max_links(size(numbers[2]))
        .mail_quota(numbers[3])
        .message_lifetime(std::time::Duration::from_millis(numbers[4]));
    if let Ok(passphrase) = Passphrase::new(&texts[1]) {
        builder = builder.passphrase(passphrase);
    }
    let Ok(builder) = builder.user(&texts[2]) else { return };
    if let Ok(config) = builder.build() {
        assert!(config.k() > 0 && config.alpha() > 0 && config.max_links() > 0);
    }
}

/// Names and addresses, good and bad, and settings.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let user = UserId::from_bytes([7; 32]);
    let key = crate::input::secret(1).public();
    let texts = [
        "alice".to_owned(),
        "Zoë".to_owned(),
        "ａｌｉｃｅ".to_owned(),
        "аlice".to_owned(),
        format!("bob#{}", user.fingerprint()),
        user.to_string(),
        key.to_string(),
        format!("{key}@[::1]:4600"),
        "127.0.0.1:4600".to_owned(),
        "example.org:0".to_owned(),
        "Trai* Zürich 東京 ﬁn".to_owned(),
    ];
    let settings = Script::default().put(&[1, 20, 1, 3, 2, 4, 0, 0, 4, 0, 16, 0, 0]);
    let settings = settings.bytes(b"network").bytes(b"secret words").bytes(b"carol").done();
    texts.into_iter().map(String::into_bytes).chain([settings]).collect()
}
