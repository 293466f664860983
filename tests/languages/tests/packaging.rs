//! What the packages of other languages need from the library and from their scripts.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use peerchat_tests_languages::{has, root, run, shared_library};

/// Android refuses a library whose segments cannot be mapped on devices with pages of 16 KiB.
#[cfg(target_os = "linux")]
#[test]
fn the_library_fits_pages_of_16_kib() {
    let output = run(Command::new("readelf").args(["--program-headers", "--wide"]).arg(shared_library()));
    let headers = String::from_utf8(output.stdout).unwrap();
    let alignments: Vec<_> = headers
        .lines()
        .filter(|line| line.trim_start().starts_with("LOAD"))
        .filter_map(|line| line.split_whitespace().last()?.strip_prefix("0x"))
        .map(|digits| u64::from_str_radix(digits, 16).unwrap())
        .collect();
    assert!(alignments.len() > 1, "{headers}");
    assert!(alignments.iter().all(|alignment| alignment % 16_384 == 0), "{headers}");
}

#[test]
fn the_scripts_are_bash() {
    if has("bash", "packaging::the_scripts_are_bash") {
        let scripts = [
            "kotlin/test",
            "python/test",
            "python/tools/cargo",
            "python/wheel",
            "swift/make-xcframework",
            "swift/test",
            "swift/toolchain",
        ];
        for script in scripts {
            run(Command::new("bash").arg("-n").arg(root().join("bindings").join(script)));
        }
    }
}

#[test]
fn the_privacy_manifest_is_a_property_list() {
    if has("python3", "packaging::the_privacy_manifest_is_a_property_list") {
        let check = "\
import plistlib, sys
manifest = plistlib.load(open(sys.argv[1], 'rb'))
assert manifest['NSPrivacyTracking'] is False
for used in manifest['NSPrivacyAccessedAPITypes']:
    assert used['NSPrivacyAccessedAPIType'].startswith('NSPrivacyAccessedAPICategory')
    assert used['NSPrivacyAccessedAPITypeReasons']";
        let manifest = root().join("bindings/swift/Sources/Peerchat/PrivacyInfo.xcprivacy");
        run(Command::new("python3").args(["-c", check]).arg(manifest));
    }
}

/// What a Mac has and this machine has not: each notes how it was called, and makes the files that the real one makes.
const MAC: [(&str, &str); 8] = [
    ("uname", "echo Darwin"),
    ("rustup", "true"),
    (
        "cargo",
        "while [ $# -gt 0 ]; do [ \"$1\" = --target ] && triple=$2; shift; done
         mkdir -p \"$CARGO_TARGET_DIR/$triple/release\"
         echo \"$triple\" >\"$CARGO_TARGET_DIR/$triple/release/libpeerchat.a\"",
    ),
    (
        "lipo",
        "[ \"$1\" = -create ] || exit 1; shift
         libraries=()
         while [ \"$1\" != -output ]; do libraries+=(\"$1\"); shift; done
         cat \"${libraries[@]}\" >\"$2\"",
    ),
    (
        "xcodebuild",
        "[ \"$1\" = -create-xcframework ] || exit 1; shift
         while [ \"$1\" = -library ]; do
             [ \"$3\" = -headers ] || exit 1
             slices+=(\"$(basename \"$(dirname \"$2\")\")\"); libraries+=(\"$2\"); headers=$4; shift 4
         done
         [ \"$1\" = -output ] || exit 1
         for i in \"${!slices[@]}\"; do
             mkdir -p \"$2/${slices[$i]}\"
             cp \"${libraries[$i]}\" \"$2/${slices[$i]}/\"; cp -R \"$headers\" \"$2/${slices[$i]}/Headers\"
         done",
    ),
    ("plutil", "[ \"$1\" = -lint ] && test -f \"$2\""),
    ("ditto", "[ \"$1 $2 $3\" = '-c -k --keepParent' ] && test -d \"$4\" && touch \"$5\""),
    ("swift", "[ \"$1 $2\" = 'package compute-checksum' ] && test -f \"$3\" && echo checksum"),
];

/// Makes what [`MAC`] lists in a directory.
fn put_mac_tools(dir: &Path) {
    fs::create_dir(dir).unwrap();
    for (name, body) in MAC {
        let tool = dir.join(name);
        fs::write(&tool, format!("#!/usr/bin/env bash\nset -eu\n{body}\n")).unwrap();
        fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

/// The script that a Mac runs, with everything from a Mac replaced: it must put the right things into the right places.
#[test]
fn the_xcframework_has_every_slice_with_its_header_and_the_privacy_manifest() {
    if !has("bash", "packaging::the_xcframework") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (package, tools) = (dir.path().join("bindings/swift"), dir.path().join("tools"));
    put_mac_tools(&tools);
    fs::create_dir_all(package.parent().unwrap()).unwrap();
    run(Command::new("cp").arg("-R").arg(root().join("bindings/swift")).arg(&package));
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap());
    let target = dir.path().join("target");
    fs::create_dir(&target).unwrap();
    run(Command::new("bash")
        .arg(package.join("make-xcframework"))
        .env("PATH", path)
        .env("CARGO_TARGET_DIR", &target));

    let framework = package.join("peerchatFFI.xcframework");
    for (slice, triples) in [
        ("ios", "aarch64-apple-ios\n"),
        ("ios-simulator", "aarch64-apple-ios-sim\nx86_64-apple-ios\n"),
        ("macos", "aarch64-apple-darwin\nx86_64-apple-darwin\n"),
    ] {
        let slice = framework.join(slice);
        assert_eq!(fs::read_to_string(slice.join("libpeerchat.a")).unwrap(), triples);
        let map = fs::read_to_string(slice.join("Headers/module.modulemap")).unwrap();
        assert!(map.contains("header \"peerchatFFI.h\"") && !map.contains("link "), "{map}");
        check_module(&slice.join("Headers"));
    }
    assert!(framework.join("PrivacyInfo.xcprivacy").is_file());
}

/// Lets clang read a module by its map, as Swift does.
fn check_module(headers: &Path) {
    if has("clang", "packaging::check_module") {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("uses.m");
        fs::write(&program, "@import peerchatFFI;\nint size = sizeof(RustBuffer);\n").unwrap();
        let mut clang = Command::new("clang");
        clang.args(["-fmodules", "-fsyntax-only", "-Werror", "-I"]).arg(headers);
        clang.arg(format!("-fmodules-cache-path={}", dir.path().display()));
        run(clang.arg(program));
    }
}

/// What R8 must leave alone is there by these names, and the Gradle snippet has the versions that the tests run with.
#[test]
fn what_android_is_told_fits_the_kotlin_package() {
    let kotlin = root().join("bindings/kotlin");
    let read = |name: &str| fs::read_to_string(kotlin.join(name)).unwrap();
    let (code, rules, readme, pom) = (
        read("generated/dev/peerchat/peerchat.kt"),
        read("proguard-rules.pro"),
        read("README.md"),
        read("pom.xml"),
    );
    let kept = rules
        .lines()
        .filter_map(|line| line.strip_prefix("-keep class dev.peerchat.")?.split([' ', '*']).next());
    for class in kept {
        let is_there = ["class ", "object "].iter().any(|kind| code.contains(&format!("{kind}{class}")));
        assert!(is_there, "proguard-rules.pro keeps {class}, which is not in the generated code");
    }
    for line in
        code.lines().filter(|line| line.contains(") : Structure()") || line.contains(": Structure() {"))
    {
        let name = line.split("class ").nth(1).map(|rest| rest.split([' ', '(', ':']).next().unwrap());
        let is_kept = name.is_none_or(|name| {
            ["RustBuffer", "ForeignBytes", "Uniffi"].iter().any(|kept| name.starts_with(kept))
        });
        assert!(is_kept, "proguard-rules.pro does not keep {line}");
    }
    let version = |name: &str| {
        let (_, rest) = pom.split_once(&format!("<{name}.version>")).unwrap();
        rest.split_once('<').unwrap().0.to_owned()
    };
    assert!(readme.contains(&format!("net.java.dev.jna:jna:{}@aar", version("jna"))));
    assert!(readme.contains(&format!("kotlinx-coroutines-android:{}\"", version("coroutines"))));
    for part in
        ["arm64-v8a", "armeabi-v7a", "x86_64-linux-android", "consumerProguardFiles", "ANDROID=1", "16 KiB"]
    {
        assert!(readme.contains(part), "bindings/kotlin/README.md lacks {part}");
    }
}
