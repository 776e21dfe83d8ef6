use super::*;

fn documents(complete: Option<bool>, accounts: &[&str]) -> Documents {
    let mut documents = Documents::default();
    for name in accounts {
        let account_id = (*name).to_owned();
        let account = AccountDocument { name: account_id.clone(), account_id, ..<_>::default() };
        let key = format!("account.{name}");
        documents.apply(&key, &account.encode_to_vec()).expect("applied");
    }
    if let Some(complete) = complete {
        let value: &[u8] = if complete { b"a database" } else { b"" };
        documents.apply(COMPLETE, value).expect("applied");
    }
    documents
}

fn names(documents: &Documents) -> Vec<&str> {
    let mut names: Vec<&str> = documents.accounts.keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

#[test]
fn a_bucket_is_complete_when_it_says_so_or_an_older_version_has_filled_it() {
    for (complete, accounts, is_complete) in [
        (Some(true), &["a"][..], true),
        (Some(true), &[], true),
        (Some(false), &["a"], false),
        (None, &["a"], true),
        (None, &[], false),
    ] {
        let loaded = documents(complete, accounts);
        assert_eq!(loaded.is_complete(), is_complete, "{complete:?} {accounts:?}");
        let in_force = loaded.succeed(&Documents::default());
        assert_eq!(in_force.is_complete(), is_complete);
        // A process that has just started has all of them or none.
        assert_eq!(names(&in_force), if is_complete { accounts } else { &[] });
    }
}

#[test]
fn what_was_in_force_stays_until_a_lost_bucket_is_complete_again() {
    let before = documents(Some(true), &["a", "b"]);
    for lost in [documents(Some(false), &["c"]), documents(None, &["c"]), documents(None, &[])] {
        let has_new = !lost.is_empty();
        let in_force = lost.succeed(&before);
        assert!(!in_force.is_complete());
        let expected: &[&str] = if has_new { &["a", "b", "c"] } else { &["a", "b"] };
        assert_eq!(names(&in_force), expected);
        // Also when it is lost once more.
        let in_force = documents(Some(false), &[]).succeed(&in_force);
        assert_eq!(names(&in_force), expected);
        let whole = documents(Some(true), &["c"]).succeed(&in_force);
        assert_eq!((names(&whole), whole.is_complete()), (vec!["c"], true));
    }
}
