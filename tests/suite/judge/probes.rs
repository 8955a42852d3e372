//! `judge` on probes, on a known schedule, and as JSON.

use super::*;

#[test]
fn json_names_the_rule_the_place_and_the_sources() {
    let folder = Folder::new("json");
    folder.problem(CASE);
    folder.run(ANSWER);
    let mut o = round_files(&folder, DType::F16);
    let document = |folder: &Folder, code: i32| -> serde_json::Value {
        let (found, out, err) = folder.run(&format!("{JUDGE} --format json"));
        assert_eq!((found, err.as_str()), (code, ""), "{out}");
        serde_json::from_str(&out).unwrap()
    };
    let agreed = document(&folder, 0);
    assert_eq!(agreed["verdict"], "agree");
    assert_eq!(agreed["output"], "o.npy");
    assert_eq!(agreed["suspicious"], false);
    assert_eq!(agreed["elements_compared"], 1188);
    assert_eq!(agreed["terms"]["tile_kv_stated"], false);
    o.values[700] += 0.0625;
    folder.write(
        "o.npy",
        npy::write(&o.shape, &rounded(DType::F16, &o.values)),
    );
    let found = document(&folder, 1);
    assert_eq!(found["verdict"], "disagree");
    let fault = &found["faults"][0];
    assert_eq!(
        (&fault["rule"], &fault["count"]),
        (&"output".into(), &1.into())
    );
    assert_eq!(fault["worst"]["place"], "o[0, 2, 3, 28]");
    assert!(
        fault["worst"]["in_bounds"].as_f64().unwrap() > 10.0,
        "{fault}"
    );
    let sources = fault["worst"]["bound_by_source"].as_object().unwrap();
    let sum: f64 = sources
        .iter()
        .filter(|(name, _)| *name != "output_rounding")
        .map(|(_, part)| part.as_f64().unwrap())
        .sum();
    let bound = fault["worst"]["bound"].as_f64().unwrap();
    assert!(
        sum < 1.05 * bound && sum > 0.7 * bound,
        "{sum:e} of {bound:e}"
    );
    assert_eq!(sources.len(), 8);
}

#[test]
fn probes_are_judged_without_tolerance() {
    let folder = Folder::new("probe");
    for values in ["key_ids", "q_zero", "one_key"] {
        folder.problem(&format!("{CASE} values={values}"));
        folder.run(ANSWER);
        let mut o = round_files(&folder, DType::F16);
        let (code, out, _) = folder.run(JUDGE);
        assert_eq!(code, 0, "{out}");
        assert!(out.contains("without tolerance"), "{values}: {out}");
        // The next number of the format is wrong.
        let at = o.values.iter().position(|x| x.abs() > 0.01).unwrap();
        let next = half::f16::from_f64(o.values[at]).to_bits() + 1;
        o.values[at] = half::f16::from_bits(next).to_f64();
        folder.write("o.npy", npy::write(&o.shape, &o.values));
        let (code, out, _) = folder.run(JUDGE);
        assert_eq!(code, 1, "{values}: {out}");
        assert!(out.contains("rule exact, no tolerance"), "{values}: {out}");
    }
}

#[test]
fn a_known_schedule_shows_what_no_order_explains() {
    let folder = Folder::new("schedule");
    let line = "kernel=block_sparse_sm80 seqlen_q=20 seqlen_kv=150 head_dim=64 layout=causal";
    let case: Case = line.parse().unwrap();
    let problem = folder.problem(line);
    let kernel = kernel::by_name(&case.kernel).unwrap();
    let Outcome::Finished(output) = Backend::default().run(kernel, &problem, &Settings::of(&case))
    else {
        panic!("the kernel ran");
    };
    let o = output.o.to_f64();
    folder.write("o.npy", npy::write(&[1, 20, 64], &o));
    let judge = JUDGE.replace(" --output-lse lse.npy", "");
    let known = format!("{judge} --tile-kv 64 --tile-order ascending");
    let (code, out, err) = folder.run(&known);
    assert_eq!(code, 0, "{out}{err}");
    // Weights that were never rounded: closer to the answer than the kernel is, and yet not its outputs.
    let exact = rounded(DType::F16, &attention(&problem).unwrap().o);
    folder.write("o.npy", npy::write(&[1, 20, 64], &exact));
    let (code, out, _) = folder.run(&judge);
    assert_eq!(code, 0, "{out}");
    let (code, out, _) = folder.run(&known);
    assert_eq!(code, 1, "{out}");
    assert!(
        out.contains("outside the bounds of the kernel's own schedule"),
        "{out}"
    );
    let (code, _, err) = folder.run(&format!("{judge} --tile-order ascending"));
    assert_eq!(code, 2);
    assert!(err.contains("--tile-kv"), "{err}");
}
