//! What a sealed secret is for: sealed as one thing, it never unseals as another.

/// The secrets of an account that are sealed at rest and on the broker, and what
/// callers hold for us and are not to read or change.
#[derive(Clone, Copy, Debug)]
pub enum Sealed<'a> {
    /// The key that signs message events; of this account.
    HttpSigningKey(&'a str),
    /// The key that signs alerts; of this account.
    AlertsSigningKey(&'a str),
    /// The value of a header that is sent along with deliveries; of this account.
    Header(&'a str),
    /// Where a page of history begins; in this account's list of this name.
    Page(&'a str, &'a str),
    /// Who is signed in to the console.
    Session,
    /// That a call comes from the console, and when.
    ConsoleCall,
}

impl Sealed<'_> {
    /// The context to seal and unseal it with.
    pub fn context(self) -> Vec<u8> {
        match self {
            Self::HttpSigningKey(account_id) => format!("http-signing-key:{account_id}"),
            Self::AlertsSigningKey(account_id) => format!("alerts-signing-key:{account_id}"),
            Self::Header(account_id) => format!("header:{account_id}"),
            Self::Page(account_id, list) => format!("page:{account_id}:{list}"),
            Self::Session => "session".to_owned(),
            Self::ConsoleCall => "console-call".to_owned(),
        }
        .into_bytes()
    }
}
