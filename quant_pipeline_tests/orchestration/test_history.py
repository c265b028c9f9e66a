from __future__ import annotations

import dagster as dg


def test_profiles_worlds_and_experiments_do_not_share_a_history(bare_home):
    houses = [
        bare_home.house(),
        bare_home.house(name="other"),
        bare_home.house(simulated={"seed": 8}),
        bare_home.house(name="a|b,[c] d...e/\N{LATIN SMALL LETTER E WITH ACUTE} %41*"),
    ]
    for number, house in enumerate(houses):
        with bare_home.open(house) as instance:
            assert list(instance.get_runs()) == []
            run = instance.create_run_for_job(dg.job(name=f"job_{number}")(lambda: None))
            assert [one.run_id for one in instance.get_runs()] == [run.run_id]
    for number, house in enumerate(houses):
        with bare_home.open(house) as instance:
            assert [one.job_name for one in instance.get_runs()] == [f"job_{number}"]
