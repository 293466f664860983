// swift-tools-version: 6.0

import Foundation
import PackageDescription

// With peerchatFFI.xcframework beside this file the library comes from there (`make-xcframework`). Without it the
// linker looks for the library where it is told to: -Xlinker -L<directory of libpeerchat.a>, as `test` does.
let framework = "peerchatFFI.xcframework"
let hasFramework = FileManager.default.fileExists(atPath: "\(Context.packageDirectory)/\(framework)")

let package = Package(
    name: "peerchat",
    platforms: [.macOS(.v13), .iOS(.v16)],
    products: [
        .library(name: "Peerchat", targets: ["Peerchat"]),
        .executable(name: "chat", targets: ["chat"]),
    ],
    targets: [
        hasFramework
            ? .binaryTarget(name: "peerchatFFI", path: framework)
            : .systemLibrary(name: "peerchatFFI", path: "Sources/peerchatFFI"),
        .target(
            name: "Peerchat",
            dependencies: ["peerchatFFI"],
            path: "Sources/Peerchat",
            resources: [.copy("PrivacyInfo.xcprivacy")]
        ),
        .executableTarget(name: "chat", dependencies: ["Peerchat"], path: "Sources/chat"),
        .executableTarget(name: "hello", dependencies: ["Peerchat"], path: "Sources/hello"),
        .executableTarget(name: "scenario", dependencies: ["Peerchat"], path: "Sources/scenario"),
        .testTarget(name: "PeerchatTests", dependencies: ["Peerchat"], path: "Tests/PeerchatTests"),
    ],
    swiftLanguageModes: [.v6]
)
