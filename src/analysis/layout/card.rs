//! Graphics cards by name: what the cost model needs of them.

/// A card. Rates are the vendor's for dense products of 16-bit numbers summed in f32, and for its memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Card {
    /// Name, as `--card` has it.
    pub name: &'static str,
    /// Streaming multiprocessors.
    pub sms: usize,
    /// 10^12 floating-point operations a second.
    pub tflops: f64,
    /// 10^9 bytes a second.
    pub gbytes_per_second: f64,
    /// Where the numbers are from.
    pub source: &'static str,
}

/// Every card that the model knows.
pub const CARDS: [Card; 7] = [
    Card {
        name: "a100-40g",
        sms: 108,
        tflops: 312.0,
        gbytes_per_second: 1555.0,
        source: "NVIDIA A100 data sheet, SXM 40 GB; glennklockwood.com/garden/processors/A100 has the same",
    },
    Card {
        name: "a100-80g",
        sms: 108,
        tflops: 312.0,
        gbytes_per_second: 2039.0,
        source: "NVIDIA A100 data sheet, SXM 80 GB",
    },
    Card {
        name: "a10",
        sms: 72,
        tflops: 125.0,
        gbytes_per_second: 600.0,
        source: "NVIDIA A10 data sheet, half of the rate with sparsity; no second source",
    },
    Card {
        name: "h100-pcie",
        sms: 114,
        tflops: 756.0,
        gbytes_per_second: 2000.0,
        source: "NVIDIA H100 data sheet, PCIe, half of the rate with sparsity; no second source",
    },
    Card {
        name: "h100-sxm",
        sms: 132,
        tflops: 989.4,
        gbytes_per_second: 3350.0,
        source: "NVIDIA H100 data sheet, SXM",
    },
    Card {
        name: "h200",
        sms: 132,
        tflops: 989.4,
        gbytes_per_second: 4800.0,
        source: "NVIDIA H200 data sheet, SXM",
    },
    Card {
        name: "l4",
        sms: 58,
        tflops: 121.0,
        gbytes_per_second: 300.0,
        source: "NVIDIA L4 data sheet, half of the rate with sparsity; its memory as in fpsbench.com",
    },
];

impl Card {
    /// The card of a name.
    pub fn by_name(name: &str) -> Option<&'static Self> {
        CARDS
            .iter()
            .find(|card| card.name.eq_ignore_ascii_case(name))
    }
}
