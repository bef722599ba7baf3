"""Metrics: a worker's /metrics page counts blocks, and nothing breaks without prometheus_client."""

import subprocess
import sys
import urllib.request

import pytest
from clusters import Processes, client_of, wait_until

from geoseg.jobs import metrics


def counted(item):
    metrics.count("done", 100, {"read": 0.5})
    return item


@pytest.mark.slow
def test_a_worker_s_metrics_page_counts_blocks(tmp_path):
    processes = Processes(tmp_path, warm=True)
    try:
        processes.scheduler()
        processes.worker()
        with client_of(processes, 1) as client:
            client.gather([client.submit(counted, item, pure=False) for item in range(3)])
            workers = client.scheduler_info(n_workers=-1)["workers"]
            (name, facts), *_ = workers.items()
            host = name.removeprefix("tcp://").rpartition(":")[0]
            url = f"http://{host}:{facts['services']['dashboard']}/metrics"

            def page():
                with urllib.request.urlopen(url) as answer:
                    return answer.read().decode()

            wait_until(lambda: 'geoseg_blocks_total{state="done"} 3.0' in page())
            assert "geoseg_pixels_total 300.0" in page()
            assert 'geoseg_seconds_total{stage="read"} 1.5' in page()
    finally:
        processes.end()


def test_without_the_package_nothing_is_counted():
    code = (
        "import sys; sys.modules['prometheus_client'] = None\n"
        "from geoseg.jobs import metrics; metrics.count('done', 1, {})"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
