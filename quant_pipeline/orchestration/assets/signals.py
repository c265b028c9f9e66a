"""Group `signals`: one row per symbol and decision, written once."""

import dagster as dg

from quant_pipeline.orchestration.assets.common import described
from quant_pipeline.orchestration.assets.outages import sources_down
from quant_pipeline.orchestration.house import House
from quant_pipeline.orchestration.jobs import live_inputs
from quant_pipeline.orchestration.moments import told_decisions
from quant_pipeline.orchestration.partitions import symbols
from quant_pipeline.orchestration.reading import EVERYTHING
from quant_pipeline.orchestration.results import Result, markdown_table


def signal_assets(house: House) -> list[dg.AssetsDefinition]:
    """The `signals` asset."""

    @described(
        "signals",
        house,
        reads=EVERYTHING,
        kinds={"json", "parquet"},
        deps=[*live_inputs(house), "champion"],
        partitions_def=symbols(house),
        description="The signal of the decision that the run was told, else of the newest; idempotent, replayable byte for byte.",
    )
    def signals(context: dg.AssetExecutionContext, house: dg.ResourceParam[House]) -> Result:
        from quant_pipeline.inference.schedule import decision_time
        from quant_pipeline.orchestration.hours import answer, answers
        from quant_pipeline.orchestration.measures import of_signal

        symbol, told, down = context.partition_key, told_decisions(context), sources_down(context, live_inputs(house))
        if told:
            moment, made = told[-1], list(answers(house, symbol, told, down))
        else:
            moment = decision_time(house.symbol(symbol).calendar, house.experiment.primary, house.workplace.now())
            made = [answer(house, symbol, moment, down)]
        outcomes = [house.signals.write(signal) for signal in made]
        kept = house.signals.latest(symbol, moment) or made[-1]
        return dg.MaterializeResult(
            metadata={
                "outcome": ", ".join(outcomes) or "unchanged",
                "down": down,
                "status": kept.status,
                **of_signal(kept),
                "reason": kept.reason,
                "as_of": str(kept.as_of),
                "signal": dg.MetadataValue.json(kept.model_dump(mode="json")),
                "recent": dg.MetadataValue.md(markdown_table(house.signals.table(symbol).tail(12).select(RECENT))),
            }
        )

    return [signals]


RECENT = ("as_of", "status", "action", "position_size", "confidence", "p_short", "p_neutral", "p_long", "reason")
