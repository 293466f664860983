use super::*;
use crate::Config;

/// Every kind of profile: with a user or without, on disk or in memory.
fn profiles(limit: u64) -> [Memory; 4] {
    [(true, false), (true, true), (false, false), (false, true)].map(|(has_user, is_in_memory)| Memory {
        limit,
        has_user,
        is_in_memory,
        mail_quota: None,
    })
}

fn sum(shares: &[Share]) -> u64 {
    shares.iter().map(|share| share.len).sum()
}

#[test]
fn everything_that_others_can_make_grow_fits_the_memory_limit_together() {
    for limit in [MIN_MEMORY_LIMIT, 64 << 20, 100 << 20, DEFAULT_MEMORY_LIMIT, 1 << 30] {
        for memory in profiles(limit) {
            let (limits, quota) = Limits::within(memory, &[]).unwrap();
            let shares = limits.shares(&memory, quota);
            assert!(sum(&shares) <= limit, "{memory:?}: {shares:#?}");
            assert!(limits.mail_count > 500, "{memory:?}: room for {} envelopes", limits.mail_count);
        }
    }
}

#[test]
fn with_the_default_only_what_is_kept_of_others_depends_on_the_profile() {
    for memory in profiles(DEFAULT_MEMORY_LIMIT) {
        let (limits, _) = Limits::within(memory, &[]).unwrap();
        let mut usual = Limits { mail_count: limits.mail_count, ..Limits::default() };
        if memory.is_in_memory {
            usual.stranger_messages_len /= 8;
        }
        assert_eq!(limits, usual);
        let (more, _) = Limits::within(Memory { limit: 1 << 30, ..memory }, &[]).unwrap();
        assert!(more.mail_count >= limits.mail_count);
        assert_eq!(Limits { mail_count: limits.mail_count, ..more }, limits);
    }
}

#[test]
fn with_less_memory_the_limits_become_smaller_and_none_leaves_its_range() {
    for memory in profiles(MIN_MEMORY_LIMIT) {
        let (limits, _) = Limits::within(memory, &[]).unwrap();
        for (info, follows) in TABLE {
            let value = limits.get(info.name).unwrap();
            assert!((info.min..=info.max).contains(&value) || info.name == "mail_count", "{info:?}: {value}");
            match follows {
                Follows::Memory { .. } => assert!(value < info.default, "{info:?}: {value}"),
                Follows::Nothing if info.name == "mail_count" => {}
                Follows::Nothing => assert_eq!(value, info.default, "{info:?}"),
            }
        }
    }
}

#[test]
fn a_limit_is_set_by_its_name_within_its_range() {
    let mut limits = Limits::default();
    for info in Limits::all() {
        for value in [info.min, info.max] {
            limits.set(info.name, value as u64).unwrap();
            assert_eq!(limits.get(info.name), Some(value));
        }
        let too_large = info.max as u64 + 1;
        let refused = limits.set(info.name, too_large).unwrap_err();
        let LimitInfo { name, min, max, .. } = info;
        assert_eq!(refused, LimitError::OutOfRange { name, value: too_large, min, max });
        assert_eq!(limits.get(name), Some(max), "it is as it was");
        assert!((min..=max).contains(&info.default));
        assert!(info.what.trim().ends_with('.'), "{info:?}");
    }
    assert_eq!(limits.set("fun", 1), Err(LimitError::Unknown { name: "fun".into() }));
}

#[test]
fn the_configuration_refuses_what_is_no_limit_or_would_take_too_much() {
    let refusal = |builder: crate::ConfigBuilder| builder.build().unwrap_err().to_string();
    insta::assert_snapshot!(
        refusal(Config::in_memory().limit("fun", 1)),
        @"there is no limit `fun`; docs/limits.md has them all"
    );
    insta::assert_snapshot!(
        refusal(Config::in_memory().limit("held_len", 0)),
        @"the limit `held_len` is 0, allowed are 32768 to 1073741824"
    );
    insta::assert_snapshot!(
        refusal(Config::in_memory().memory_limit(1 << 20)),
        @"the memory limit is 1048576 bytes, a node needs 41943040 at least"
    );
    let much = Config::builder("/p").limit("records", 1 << 20);
    assert!(refusal(much.clone()).contains("most of it for records; the memory limit is 268435456"));
    let config = much.memory_limit(2 << 30).build().unwrap();
    assert_eq!(config.limits().get("records"), Some(1 << 20));
    assert!(sum(&config.memory_shares()) <= 2 << 30);
    let many = Config::builder("/p").limit("mail_count", 1 << 22);
    assert!(refusal(many).contains("most of it for the index of mail"));
    let full = Config::in_memory().mail_quota(1 << 30);
    assert!(refusal(full).contains("most of it for mail;"));
}

#[test]
fn of_a_limit_that_is_set_twice_the_last_value_counts() {
    let config = Config::in_memory().max_links(7).limit("links", 9).build().unwrap();
    assert_eq!((config.max_links(), config.limits().get("links")), (9, Some(9)));
}

#[test]
fn nodes_with_the_same_limits_share_them() {
    let config = || Config::in_memory().limit("records", 1001).build().unwrap();
    let (one, other) = (config(), config());
    assert!(std::ptr::eq(one.limits(), other.limits()));
}

/// The sources of this crate, one after the other.
fn sources(directory: &std::path::Path, text: &mut String) {
    let mut entries: Vec<_> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}

/// What stands between backticks.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

fn with_commas(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap()).collect();
    groups.join(",")
}

#[test]
fn the_page_of_limits_has_every_limit_with_its_default_and_a_test_that_exists() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("../docs/limits.md")).unwrap();
    let mut all = String::new();
    ["src", "tests", "../tests/sim"]
        .into_iter()
        .for_each(|directory| sources(&root.join(directory), &mut all));
    let rows = page
        .lines()
        .filter(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>());
    let mut listed = Vec::new();
    for row in rows.filter(|row| row.len() == 7 && row[0].starts_with('`')) {
        let name = quoted(row[0]).next().unwrap();
        let tests: Vec<&str> = quoted(row[6]).collect();
        assert!(row[6].starts_with("the same") || !tests.is_empty(), "{name} has no test");
        for test in tests {
            assert!(all.contains(&format!("fn {test}(")), "`{test}` of {name} is no test");
        }
        if name == "mail_quota" {
            continue;
        }
        let (info, follows) = TABLE.iter().find(|(info, _)| info.name == name).expect(name);
        if name != "mail_count" {
            assert_eq!(row[2].split(';').next(), Some(&*with_commas(info.default)), "{name}");
            assert_eq!(row[3] == "yes", matches!(follows, Follows::Memory { .. }), "{name}");
        }
        listed.push(name);
    }
    listed.sort_unstable();
    let mut names: Vec<&str> = Limits::all().map(|info| info.name).collect();
    names.sort_unstable();
    assert_eq!(listed, names);
}

#[test]
fn the_page_of_limits_has_every_share_of_a_node_on_disk() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("../docs/limits.md")).unwrap();
    let alone = Config::builder("/p").build().unwrap().memory_shares();
    let shares = Config::builder("/p").user("alice").unwrap().build().unwrap().memory_shares();
    let mib = |share: &Share| format!("{:.1}", share.len as f64 / f64::from(1 << 20));
    for share in &shares {
        let without = alone.iter().find(|other| other.what == share.what).map_or("0".to_owned(), mib);
        let row = format!("| {} | {} | {without} |", share.what, mib(share));
        assert!(page.contains(&row), "the page lacks {row}");
    }
    assert!(alone.iter().all(|share| shares.iter().any(|other| other.what == share.what)));
}
