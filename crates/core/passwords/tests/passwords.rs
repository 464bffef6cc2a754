//! Hashes that other programs made are read and compared, costly and damaged ones are refused, and
//! the memory of right credentials forgets what it must.

use std::time::Duration;

use proptest::prelude::*;
use tidegate_passwords::{
    DuplicateUser, HashError, PASSWORD_BYTES_MAX, PasswordHash, Users, VerifiedCache,
};

/// Made by libxcrypt and OpenSSL, and the last two by Argon2's reference implementation.
const KNOWN: [(&str, &str); 11] = [
    ("Hello world!", "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5"),
    (
        "Hello world!",
        "$5$rounds=10000$saltstringsaltst$3xv.VbSHBb41AL9AvLeujZkZRBAwqFMz2.opqey6IcA",
    ),
    (
        "Hello world!",
        "$6$abcdefgh$4UPJf3qf71iDb8DDBG5r.Jxy3OKpyf7on.yGTrfW2z7BZBicRPXkes.VuTPq3aS6gF63ohT6G9SJv9LejkZLu/",
    ),
    (
        "Hello world!",
        "$6$rounds=1000$salt$kIPj/KG/Fylavv3AQlFNF2d5e1UDUex4b33wZ8R8QlHiTn3d8V1c6Tsw.DiM/Hu.9SxM2FLmjaeqFlU4R/Bdx0",
    ),
    (
        "",
        "$6$abcdefgh$v7sYNA18/BerGOYQLppYLyjH4yJilp8kqe/ef3KYMK9hOIdzH1yzcmP74Ay.m51y1jP3QqxM7Jl75S4CxDhBq.",
    ),
    (
        "p\u{e4}ssw\u{f6}rd",
        "$6$Ab./01$VxOtIkjYyz1imJrjCkJ7WgHyDv0ldyPdqR8c8Uj6satbE4nDNXDnImfeItVqjFOYRnRAeQ2QwR0y6XY2J2TUF/",
    ),
    ("Hello world!", "$2b$04$abcdefghijklmnopqrstuuyeG8laUfZvsCmc.AE6qIDYSPGM2efmK"),
    ("Hello world!", "$2a$05$abcdefghijklmnopqrstuu7nFISH/8YdwlXD3lw69A4iBUf6fvWAW"),
    ("Hello world!", "$2y$04$abcdefghijklmnopqrstuuyeG8laUfZvsCmc.AE6qIDYSPGM2efmK"),
    (
        "password",
        "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
    ),
    (
        "password",
        "$argon2i$v=19$m=256,t=2,p=1$c29tZXNhbHQ$iekCn0Y3spW+sCcFanM2xBT63UP2sghkUoHLIUpWRS8",
    ),
];

const BCRYPT: &str = KNOWN[6].1;
const ARGON2: &str = KNOWN[9].1;

#[test]
fn hashes_of_other_programs_are_right_for_their_password_only() {
    for (password, text) in KNOWN {
        let hash = PasswordHash::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert!(hash.verify(password.as_bytes()), "{text}");
        assert!(!hash.is_plain());
        assert!(!hash.verify(b"another"), "{text}");
        assert!(!hash.verify(format!("{password}x").as_bytes()), "{text}");
    }
}

#[test]
fn plain_passwords_are_compared_whole() {
    let hash = PasswordHash::plain("secret");
    assert!(hash.is_plain() && hash.verify(b"secret"));
    for wrong in [&b""[..], b"secre", b"secrets", b"Secret"] {
        assert!(!hash.verify(wrong));
    }
    let long = "x".repeat(PASSWORD_BYTES_MAX + 1);
    assert!(PasswordHash::plain(&long[1..]).verify(&long.as_bytes()[1..]));
    assert!(!PasswordHash::plain(&long).verify(long.as_bytes()));
}

#[test]
fn damaged_costly_and_weak_hashes_are_refused_with_a_reason() {
    let sha = KNOWN[3].1;
    let cases = [
        (String::new(), "not a password hash"),
        ("secret".to_owned(), "not a password hash"),
        ("$9$a$b".to_owned(), "not a password hash"),
        ("$1$abc$.FiamM1s4pFo0QKAk4pqS.".to_owned(), "MD5-crypt"),
        ("$apr1$abc$x".to_owned(), "MD5-crypt"),
        ("$y$j9T$F5Jx5fExrKuPp53xLKQ..1$42Rg".to_owned(), "yescrypt"),
        (BCRYPT.replace("$2b", "$2x"), "faulty bcrypt"),
        (sha.replace("1000", "1000001"), "at most 1000000 rounds"),
        (sha.replace("1000", "999"), "fewer than 1000"),
        (sha.replace("1000", "many"), "not a number"),
        (sha.replace("$salt$", "$$"), "its salt"),
        (sha.replace("$salt$", "$s:lt$"), "its salt"),
        (sha.replace("$salt$", "$saltsaltsaltsalts$"), "its salt"),
        (sha[..sha.len() - 1].to_owned(), "its last character"),
        (format!("{sha}x"), "its last character"),
        (format!("{sha}."), "length of its kind"),
        (format!("{sha}$"), "length of its kind"),
        (sha.replace("$6$", "$5$"), "length of its kind"),
        (format!("{}2", &sha[..sha.len() - 1]), "its last character"),
        ("$6$".to_owned(), "its salt"),
        ("$6$salt".to_owned(), "its last character"),
        (BCRYPT[..59].to_owned(), "bcrypt"),
        (BCRYPT.replace("$04$", "$03$"), "a cost below 4"),
        (BCRYPT.replace("$04$", "$15$"), "a cost of at most 14"),
        (BCRYPT.replace("yeG8", "y!G8"), "bcrypt"),
        (ARGON2.replace("argon2id", "argon2d"), "not for passwords"),
        (ARGON2.replace("v=19$", ""), "a version"),
        (ARGON2.replace("v=19", "v=18"), "a version"),
        (ARGON2.replace("$c29tZXNhbHQ$", "$c2FsdA$"), "not what Argon2 writes"),
        (ARGON2[..ARGON2.find("$c29").expect("it has a salt")].to_owned(), "a salt of 8 bytes"),
        (ARGON2[..ARGON2.rfind('$').expect("it has fields")].to_owned(), "a digest"),
        (ARGON2.replace("m=256", "m=65537"), "65536 KiB"),
        (ARGON2.replace("m=256,t=2", "m=65536,t=17"), "1048576 KiB"),
        (ARGON2.replace("p=1", "p=17"), "16 lanes"),
        (ARGON2.replace("m=256", "m=0"), "parameters"),
        (ARGON2.replace("m=256", "m=x"), "damaged"),
    ];
    for (text, expected) in cases {
        let error = PasswordHash::parse(&text).expect_err(&text).to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
    assert_eq!(PasswordHash::parse("x"), Err(HashError::UnknownFormat));
}

#[test]
fn users_pass_with_their_own_password_only() {
    let hash = |text: &str| PasswordHash::parse(text).expect("a known hash");
    let users = Users::new([("alice", hash(BCRYPT)), ("bob", PasswordHash::plain("builder"))])
        .expect("two names");
    assert!(users.verify(b"alice", b"Hello world!") && users.verify(b"bob", b"builder"));
    for (user, password) in [
        (&b"alice"[..], &b"builder"[..]),
        (b"bob", b"Hello world!"),
        (b"Alice", b"Hello world!"),
        (b"", b""),
        // The password of the user that unknown ones are compared with.
        (b"mallory", b"Hello world!"),
    ] {
        assert!(!users.verify(user, password), "{user:?}");
    }
    assert!(!Users::default().verify(b"alice", b""));
    assert_eq!(
        Users::new([("a", PasswordHash::plain("1")), ("a", PasswordHash::plain("2"))]).err(),
        Some(DuplicateUser("a".to_owned()))
    );
}

#[test]
fn nothing_shows_a_password() {
    let hash = PasswordHash::plain("secret");
    let cache = VerifiedCache::new([7; 32], 8, Duration::from_secs(60));
    let tag = cache.tag(&hash, b"user", b"secret");
    let users = Users::new([("user", hash.clone())]).expect("one name");
    let shown = format!("{hash:?} {cache:?} {tag:?} {users:?}");
    assert!(!shown.contains("secret"), "{shown}");
}

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn right_credentials_are_remembered_for_the_lifetime() {
    let mut cache = VerifiedCache::new([7; 32], 100, MINUTE);
    let hash = PasswordHash::plain("secret");
    let tag = cache.tag(&hash, b"user", b"secret");
    let start = Duration::from_secs(5);
    assert!(!cache.contains(&tag, start));
    cache.insert(&tag, start);
    assert!(cache.contains(&tag, start));
    assert!(cache.contains(&tag, start + MINUTE - Duration::from_nanos(1)));
    assert!(!cache.contains(&tag, start + MINUTE));
    cache.insert(&tag, start + MINUTE);
    assert!(cache.contains(&tag, start + MINUTE));
}

#[test]
fn tags_depend_on_key_hash_name_and_password_and_where_they_are_divided() {
    let mut cache = VerifiedCache::new([7; 32], 100, MINUTE);
    let hash = PasswordHash::plain("secret");
    let tag = cache.tag(&hash, b"user", b"secret");
    cache.insert(&tag, Duration::ZERO);
    let others = [
        cache.tag(&hash, b"user", b"secre"),
        cache.tag(&hash, b"use", b"rsecret"),
        cache.tag(&hash, b"usersecret", b""),
        cache.tag(&PasswordHash::plain("changed"), b"user", b"secret"),
        VerifiedCache::new([8; 32], 100, MINUTE).tag(&hash, b"user", b"secret"),
    ];
    for (place, other) in others.iter().enumerate() {
        assert!(!cache.contains(other, Duration::ZERO), "{place}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// However many are put in, the newest is there, and no more than the bound are.
    #[test]
    fn the_memory_is_bounded_and_holds_the_newest(entries in 1_usize..40, inserted in 1_u64..300) {
        let mut cache = VerifiedCache::new([1; 32], entries, MINUTE);
        let hash = PasswordHash::plain("x");
        let tag = |cache: &VerifiedCache, number: u64| cache.tag(&hash, &number.to_le_bytes(), b"");
        let now = Duration::from_secs(1);
        for number in 0..inserted {
            let new = tag(&cache, number);
            cache.insert(&new, now + Duration::from_millis(number));
            prop_assert!(cache.contains(&new, now));
        }
        let held = (0..inserted).filter(|&number| cache.contains(&tag(&cache, number), now)).count();
        prop_assert!(held <= entries.next_multiple_of(4), "{held} of {entries}");
    }

    #[test]
    fn no_text_makes_reading_panic(text in "\\$?(2b|5|6|argon2id|y)?\\$?[$=,a-z0-9./]{0,80}") {
        if let Ok(hash) = PasswordHash::parse(&text) {
            prop_assert!(!hash.is_plain());
        }
    }
}
