"""Where in LoadGen 6.0.17's own source each key is logged: ``metadata`` of strict detail logs.

A table read off the official logs; by default our lines name this service instead.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

_PERCENT: Final = re.compile(r"\d\d\.\d\d")

_LINES: Final = {
    "version.cc": """
53 loadgen_version
55 loadgen_build_date_local
56 loadgen_build_date_utc
57 loadgen_git_commit_date
58 loadgen_git_log_message
60 loadgen_git_status_message
67 loadgen_file_sha1
""",
    "loadgen.cc": """
427 generated_query_count
428 generated_samples_per_query
429 generated_query_duration
562 power_begin
564 power_end
608 loaded_qsl_set
1211 test_datetime
1212 sut_name
1213 get_sut_name_duration_ns
1214 qsl_name
1215 qsl_reported_total_count
1216 qsl_reported_performance_count
""",
    "test_settings_internal.cc": """
278 requested_scenario
279 requested_test_mode
284 requested_single_stream_expected_latency_ns
286 requested_single_stream_target_latency_percentile
290 requested_multi_stream_expected_latency_ns
292 requested_multi_stream_target_latency_percentile
294 requested_multi_stream_samples_per_query
298 requested_server_target_qps
299 requested_server_target_latency_ns
301 requested_server_target_latency_percentile
303 requested_server_coalesce_queries
305 requested_server_find_peak_qps_decimals_of_precision
308 requested_server_find_peak_qps_boundary_step_size
310 requested_server_max_async_queries
312 requested_server_num_issue_query_threads
316 requested_offline_expected_qps
322 requested_min_duration_ms
323 requested_max_duration_ms
324 requested_min_query_count
325 requested_max_query_count
326 requested_qsl_rng_seed
327 requested_sample_index_rng_seed
329 requested_schedule_rng_seed
330 requested_accuracy_log_rng_seed
332 requested_accuracy_log_probability
334 requested_accuracy_log_sampling_target
336 requested_print_timestamps
337 requested_performance_issue_unique
339 requested_performance_issue_same
341 requested_performance_issue_same_index
343 requested_performance_sample_count_override
345 requested_accuracy_sample_count_override
347 requested_sample_concatenate_permutation
351 requested_use_token_latencies
354 requested_server_ttft_latency
356 requested_server_tpot_latency
428 effective_scenario
429 effective_test_mode
431 effective_samples_per_query
432 effective_target_qps
433 effective_target_latency_ns
434 effective_target_latency_percentile
436 effective_max_async_queries
437 effective_target_duration_ms
439 effective_min_duration_ms
440 effective_max_duration_ms
441 effective_min_query_count
442 effective_max_query_count
443 effective_min_sample_count
444 effective_qsl_rng_seed
445 effective_sample_index_rng_seed
447 effective_schedule_rng_seed
448 effective_accuracy_log_rng_seed
450 effective_accuracy_log_probability
452 effective_accuracy_log_sampling_target
454 effective_print_timestamps
455 effective_performance_issue_unique
457 effective_performance_issue_same
459 effective_performance_issue_same_index
461 effective_performance_sample_count
463 effective_accuracy_sample_count
465 effective_sample_concatenate_permutation
""",
    "logging.cc": """
902 logger_swap_request_slots_retry_count
904 logger_swap_request_slots_retry_retry_count
906 logger_swap_request_slots_retry_reencounter_count
908 logger_start_reading_entries_retry_count
910 logger_tls_total_log_cas_fail_count
912 logger_tls_total_swap_buffers_slot_retry_count
""",
    "results.cc": """
674 result_validity
677 result_perf_constraints_met
679 result_min_duration_met
680 result_min_queries_met
681 early_stopping_met
695 result_invalid_reason
700 early_stopping_result
706 early_stopping_ttft_result
708 early_stopping_tpot_result
712 result_query_count
714 result_overlatency_query_count
719 result_min_query_latency_ns
720 result_max_query_latency_ns
721 result_mean_query_latency_ns
724 result_NN.NN_percentile_per_query_latency_ns
735 result_qps_with_loadgen_overhead
736 result_qps_without_loadgen_overhead
737 early_stopping_latency_ss
760 result_scheduled_samples_per_sec
763 result_completed_samples_per_sec
768 result_samples_per_second
774 result_min_latency_ns
775 result_max_latency_ns
776 result_mean_latency_ns
778 result_NN.NN_percentile_latency_ns
786 result_first_token_min_latency_ns
788 result_first_token_max_latency_ns
790 result_first_token_mean_latency_ns
793 result_first_token_NN.NN_percentile_latency_ns
801 result_token_throughput_with_loadgen_overhead
803 result_token_throughput
805 result_time_per_output_token_NN.NN_percentile_ns
810 result_time_to_output_token_min
812 result_time_to_output_token_max
814 result_time_to_output_token_mean
818 result_completed_tokens_per_second
822 result_tokens_per_second
832 result_inferred_completed_tokens_per_second
840 result_inferred_tokens_per_second
852 num_errors
""",
}

_LOCATIONS: Final[Mapping[str, tuple[str, int]]] = MappingProxyType(
    {
        key: (source, int(line))
        for source, text in _LINES.items()
        for line, key in (entry.split() for entry in text.strip().splitlines())
    }
)


def location_of(key: str, scenario: str) -> tuple[str, int]:
    """File and line of LoadGen's source that logs ``key``; ("", 0) where none does."""
    if key == "early_stopping_latency_ms":
        return "results.cc", 745 if scenario == "multi_stream" else 739
    return _LOCATIONS.get(_PERCENT.sub("NN.NN", key), ("", 0))
