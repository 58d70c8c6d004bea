//! `update_plan`: the model's plan, for the reader.

use async_trait::async_trait;
use legwork_domain::{ItemBody, PlanStep, PlanStepStatus};
use serde::Deserialize;
use serde_json::json;

use super::{Call, Outcome, Tool, spec};

/// Steps that a plan may have; a longer one is no plan.
const STEPS_MAX: usize = 100;

/// Shows the plan.
pub(super) struct UpdatePlan;

#[derive(Deserialize)]
struct Arguments {
    plan: Vec<PlanStep>,
}

#[async_trait]
impl Tool for UpdatePlan {
    fn spec(&self) -> legwork_model::Tool {
        spec(
            "update_plan",
            "Shows the plan of a task with several steps, or its progress. At most one step is in progress.",
            json!({
                "type": "object",
                "properties": {
                    "explanation": {"type": "string"},
                    "plan": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "properties": {
                                "step": {"type": "string"},
                                "status": {"type": "string", "enum": ["pending", "in_progress", "completed"]}
                            },
                            "required": ["step", "status"],
                            "additionalProperties": false
                        }
                    }
                },
                "required": ["plan"],
                "additionalProperties": false
            }),
        )
    }

    async fn call(&self, call: Call) -> Outcome {
        match plan(&call) {
            Ok(steps) => {
                call.scene.timeline.record(ItemBody::Plan { steps }).await;
                let mut outcome = Outcome::done("Plan updated");
                outcome.trace.call = format!("{:?}", call.input);
                outcome
            }
            Err(refusal) => {
                call.record(&refusal).await;
                refusal
            }
        }
    }
}

fn plan(call: &Call) -> Result<Vec<PlanStep>, Outcome> {
    let Arguments { plan } = call.arguments()?;
    if plan.len() > STEPS_MAX {
        return Err(Outcome::failed(format!("A plan has at most {STEPS_MAX} steps.")));
    }
    if plan.iter().filter(|step| step.status == PlanStepStatus::InProgress).count() > 1 {
        return Err(Outcome::failed("At most one step can be in progress."));
    }
    Ok(plan)
}
