//! What is sent to a card: NVIDIA's assembler accepts every probe, where `cuda/build.sh` has installed it.

use flashproof::device::probe::function::Function;
use flashproof::device::probe::tensor_core::{FORMS, Family};
use flashproof::device::probe::{Probe, program};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

fn assembler() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))?;
    let path = cache.join("flashproof/cuda-13.0/nvidia/cu13/bin/ptxas");
    path.is_file().then_some(path)
}

#[test]
fn every_probe_is_accepted() {
    let products = FORMS.iter().map(|form| form.probe(Family::Any, 1, 1));
    let functions = Function::ALL.iter().map(|function| function.probe(0, 1));
    let programs = (0..20).map(|seed| program::random(seed, 80));
    let probes: Vec<Probe> = products.chain(functions).chain(programs).collect();
    let Some(assembler) = assembler() else {
        println!(
            "ptxas: skipped {} probes (cuda/build.sh installs it)",
            probes.len()
        );
        return;
    };
    // One text a target: the assembler is fast, its start is not.
    let mut texts: BTreeMap<String, String> = BTreeMap::new();
    for (i, probe) in probes.iter().enumerate() {
        let (header, body) = probe.ptx.split_once(".visible").unwrap();
        let target = header.split(".target ").nth(1).unwrap();
        let target = target.lines().next().unwrap().to_owned();
        let text = texts
            .entry(target.clone())
            .or_insert_with(|| format!(".version 8.4\n.target {target}\n.address_size 64\n"));
        let body = body.replace("entry probe(", &format!("entry probe{i}("));
        text.push_str(&format!("// {}\n.visible{body}\n", probe.name));
    }
    let folder = std::env::temp_dir().join(format!("flashproof-probes-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    for (target, text) in &texts {
        let path = folder.join(format!("{target}.ptx"));
        std::fs::write(&path, text).unwrap();
        let run = Command::new(&assembler)
            .arg(format!("-arch={target}"))
            .args(["-O0", "-o", "/dev/null"])
            .arg(&path)
            .output()
            .expect("ptxas starts");
        let said = String::from_utf8_lossy(&run.stderr);
        assert!(run.status.success(), "{target}: {said}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
    println!("ptxas: {} probes accepted", probes.len());
}
