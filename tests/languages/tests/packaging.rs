//! What the packages of other languages need from the library and from their scripts.

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
