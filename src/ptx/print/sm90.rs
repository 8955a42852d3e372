//! The asynchronous family as text.

use super::modifiers::{flag, space};
use super::operands::Names;
use crate::ptx::ScalarType::{B32, B64, F16, Pred, S32, U32};
use crate::ptx::{
    ArriveKind, Op, Operand, RegisterId, Sm90, Space, TensorPlace, WgmmaA, WgmmaType,
};

type Text = (String, Vec<String>);

impl Names<'_> {
    fn braces(self, registers: &[RegisterId]) -> String {
        let names: Vec<String> = registers.iter().map(|one| self.register(*one)).collect();
        format!("{{{}}}", names.join(", "))
    }

    fn tensor_place(self, place: &TensorPlace) -> String {
        let coordinates: Vec<String> = place
            .coordinates
            .iter()
            .map(|one| self.operand(*one, S32))
            .collect();
        let map = self.address(place.map);
        format!(
            "{}, {{{}}}]",
            map.trim_end_matches(']'),
            coordinates.join(", ")
        )
    }

    /// Operands with the policy at the end.
    fn hinted(self, mut operands: Vec<String>, policy: Option<Operand>) -> Vec<String> {
        operands.extend(policy.map(|policy| self.operand(policy, B64)));
        operands
    }

    /// Opcode with modifiers, and operands.
    pub(super) fn sm90(self, op: &Sm90) -> Text {
        match op {
            Sm90::MbarrierInit { address, count } => (
                "mbarrier.init.shared.b64".to_owned(),
                vec![self.address(*address), self.operand(*count, U32)],
            ),
            Sm90::MbarrierInvalidate { address } => (
                "mbarrier.inval.shared.b64".to_owned(),
                vec![self.address(*address)],
            ),
            Sm90::MbarrierTx {
                complete,
                address,
                bytes,
            } => (
                format!(
                    "mbarrier.{}.relaxed.cta.shared.b64",
                    if *complete {
                        "complete_tx"
                    } else {
                        "expect_tx"
                    }
                ),
                vec![self.address(*address), self.operand(*bytes, U32)],
            ),
            Sm90::MbarrierArrive(arrive) => {
                let (kind, operand) = match arrive.kind {
                    ArriveKind::Count(count) => ("", count),
                    ArriveKind::ExpectTx(bytes) => (".expect_tx", Some(bytes)),
                    ArriveKind::NoComplete(count) => (".noComplete", Some(count)),
                };
                let mut operands = vec![self.sink(arrive.state), self.address(arrive.address)];
                operands.extend(operand.map(|operand| self.operand(operand, U32)));
                let text = format!(
                    "mbarrier.arrive{}{kind}{}.shared{}.b64",
                    flag(arrive.drop, "_drop"),
                    arrive.order.text("release"),
                    flag(arrive.remote, "::cluster")
                );
                (text, operands)
            }
            Sm90::MbarrierWait(wait) => {
                let phase = if wait.parity { U32 } else { B64 };
                let mut operands = vec![
                    self.register(wait.d),
                    self.address(wait.address),
                    self.operand(wait.phase, phase),
                ];
                operands.extend(wait.hint.map(|hint| self.operand(hint, U32)));
                let text = format!(
                    "mbarrier.{}{}{}.shared.b64",
                    if wait.blocking {
                        "try_wait"
                    } else {
                        "test_wait"
                    },
                    flag(wait.parity, ".parity"),
                    wait.order.text("acquire")
                );
                (text, operands)
            }
            Sm90::MbarrierPending { d, state } => (
                "mbarrier.pending_count.b64".to_owned(),
                vec![self.register(*d), self.operand(*state, B64)],
            ),
            Sm90::CpAsyncArrive {
                no_increment,
                address,
            } => (
                format!(
                    "cp.async.mbarrier.arrive{}.shared.b64",
                    flag(*no_increment, ".noinc")
                ),
                vec![self.address(*address)],
            ),
            Sm90::BulkLoad { .. }
            | Sm90::BulkStore { .. }
            | Sm90::BulkPrefetch { .. }
            | Sm90::TensorLoad { .. }
            | Sm90::TensorStore { .. }
            | Sm90::TensorPrefetch { .. } => self.bulk(op),
            Sm90::BulkCommit => ("cp.async.bulk.commit_group".to_owned(), Vec::new()),
            Sm90::BulkWait { groups, read } => (
                format!("cp.async.bulk.wait_group{}", flag(*read, ".read")),
                vec![groups.to_string()],
            ),
            Sm90::FenceProxyAsync { space } => {
                let space = match space {
                    Some(Space::Shared) => ".shared::cta",
                    Some(Space::Global) => ".global",
                    // No other space is read.
                    _ => "",
                };
                (format!("fence.proxy.async{space}"), Vec::new())
            }
            Sm90::FenceMbarrierInit => {
                ("fence.mbarrier_init.release.cluster".to_owned(), Vec::new())
            }
            Sm90::PrefetchTensorMap { space: of, address } => (
                format!("prefetch{}.tensormap", space(*of)),
                vec![self.address(*address)],
            ),
            Sm90::WgmmaFence => ("wgmma.fence.sync.aligned".to_owned(), Vec::new()),
            Sm90::WgmmaCommit => ("wgmma.commit_group.sync.aligned".to_owned(), Vec::new()),
            Sm90::WgmmaWait { groups } => (
                "wgmma.wait_group.sync.aligned".to_owned(),
                vec![groups.to_string()],
            ),
            Sm90::Wgmma(wgmma) => self.wgmma(wgmma),
            Sm90::SetMaxRegisters { increase, count } => (
                format!(
                    "setmaxnreg.{}.sync.aligned.u32",
                    if *increase { "inc" } else { "dec" }
                ),
                vec![count.to_string()],
            ),
            Sm90::Elect { d, p, mask } => (
                "elect.sync".to_owned(),
                vec![
                    format!("{}|{}", self.sink(*d), self.register(*p)),
                    self.operand(*mask, B32),
                ],
            ),
            Sm90::GridDependency { launch_dependents } => (
                format!(
                    "griddepcontrol.{}",
                    if *launch_dependents {
                        "launch_dependents"
                    } else {
                        "wait"
                    }
                ),
                Vec::new(),
            ),
            Sm90::ClusterArrive { relaxed, aligned } => (
                format!(
                    "barrier.cluster.arrive{}{}",
                    flag(*relaxed, ".relaxed"),
                    flag(*aligned, ".aligned")
                ),
                Vec::new(),
            ),
            Sm90::ClusterWait { aligned } => (
                format!("barrier.cluster.wait{}", flag(*aligned, ".aligned")),
                Vec::new(),
            ),
            Sm90::Mapa {
                space,
                ty,
                d,
                a,
                rank,
            } => (
                format!(
                    "mapa{}.{ty}",
                    flag(*space == Space::Shared, ".shared::cluster")
                ),
                vec![
                    self.register(*d),
                    self.operand(*a, *ty),
                    self.operand(*rank, U32),
                ],
            ),
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the one caller sends bulk operations only"
    )]
    fn bulk(self, op: &Sm90) -> Text {
        let hint = |policy: &Option<Operand>| flag(policy.is_some(), ".L2::cache_hint");
        let load = "shared::cluster.global.mbarrier::complete_tx::bytes";
        let store = "global.shared::cta.bulk_group";
        match op {
            Sm90::BulkLoad {
                d,
                s,
                bytes,
                mbarrier,
                policy,
            } => {
                let operands = vec![
                    self.address(*d),
                    self.address(*s),
                    self.operand(*bytes, U32),
                    self.address(*mbarrier),
                ];
                (
                    format!("cp.async.bulk.{load}{}", hint(policy)),
                    self.hinted(operands, *policy),
                )
            }
            Sm90::BulkStore {
                reduce,
                d,
                s,
                bytes,
                policy,
            } => {
                let operands = vec![
                    self.address(*d),
                    self.address(*s),
                    self.operand(*bytes, U32),
                ];
                let text = match reduce {
                    None => format!("cp.async.bulk.{store}{}", hint(policy)),
                    Some((operation, ty)) => {
                        let half = matches!(*ty, F16 | crate::ptx::ScalarType::Bf16);
                        let adds = *operation == crate::ptx::BulkReduction::Add;
                        format!(
                            "cp.reduce.async.bulk.{store}{}.{operation}{}.{ty}",
                            hint(policy),
                            flag(half && adds, ".noftz")
                        )
                    }
                };
                (text, self.hinted(operands, *policy))
            }
            Sm90::BulkPrefetch { s, bytes, policy } => (
                format!("cp.async.bulk.prefetch.L2.global{}", hint(policy)),
                self.hinted(vec![self.address(*s), self.operand(*bytes, U32)], *policy),
            ),
            Sm90::TensorLoad {
                d,
                place,
                mbarrier,
                policy,
            } => {
                let operands = vec![
                    self.address(*d),
                    self.tensor_place(place),
                    self.address(*mbarrier),
                ];
                let rank = place.coordinates.len();
                (
                    format!("cp.async.bulk.tensor.{rank}d.{load}{}", hint(policy)),
                    self.hinted(operands, *policy),
                )
            }
            Sm90::TensorStore {
                reduce,
                place,
                s,
                policy,
            } => {
                let operands = vec![self.tensor_place(place), self.address(*s)];
                let rank = place.coordinates.len();
                let text = match reduce {
                    None => format!("cp.async.bulk.tensor.{rank}d.{store}{}", hint(policy)),
                    Some(operation) => format!(
                        "cp.reduce.async.bulk.tensor.{rank}d.{store}.{operation}{}",
                        hint(policy)
                    ),
                };
                (text, self.hinted(operands, *policy))
            }
            Sm90::TensorPrefetch { place, policy } => (
                format!(
                    "cp.async.bulk.prefetch.tensor.{}d.L2.global{}",
                    place.coordinates.len(),
                    hint(policy)
                ),
                self.hinted(vec![self.tensor_place(place)], *policy),
            ),
            _ => (
                Op::Sm90(Box::new(op.clone())).opcode().to_string(),
                Vec::new(),
            ),
        }
    }

    fn wgmma(self, wgmma: &crate::ptx::Wgmma) -> Text {
        let text = format!(
            "wgmma.mma_async.sync.aligned.m64n{}k{}.{}.{}.{}",
            wgmma.n,
            wgmma.k(),
            wgmma.d_type,
            wgmma.a_type,
            wgmma.b_type
        );
        let sign = |negative: bool| if negative { "-1" } else { "1" }.to_owned();
        let a = match &wgmma.a {
            WgmmaA::Shared(descriptor) => self.operand(*descriptor, B64),
            WgmmaA::Registers(registers) => self.braces(registers),
        };
        let mut operands = vec![
            self.braces(&wgmma.d),
            a,
            self.operand(wgmma.b, B64),
            self.operand(wgmma.scale_d, Pred),
            sign(wgmma.negate_a),
            sign(wgmma.negate_b),
        ];
        if matches!(wgmma.a_type, WgmmaType::F16 | WgmmaType::Bf16) {
            if matches!(wgmma.a, WgmmaA::Shared(_)) {
                operands.push(u8::from(wgmma.transpose_a).to_string());
            }
            operands.push(u8::from(wgmma.transpose_b).to_string());
        }
        (text, operands)
    }
}
