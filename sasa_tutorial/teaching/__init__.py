"""What the notebooks share: one style, figures, checks of answers, recorded results."""

from sasa_tutorial.teaching.ablation_figures import (
    ablation_schematic,
    one_run_or_ten,
    own_spreads,
    published_and_ours,
    then_and_now,
)
from sasa_tutorial.teaching.ablations import other_recorded_studies, recorded_study, recorded_trials
from sasa_tutorial.teaching.animation import show_loop
from sasa_tutorial.teaching.attention_figures import attention_over_image
from sasa_tutorial.teaching.attention_stem_figures import (
    edge_mosaic,
    edges_in_image,
    mirrored_blocks,
    mixture_shares,
    parts_of_matrices,
    read_by_heads,
    same_colour_windows,
    shares_over_image,
    windows_of_blocks,
)
from sasa_tutorial.teaching.attention_stem_schematic import ATTENTION_STEM_FRAMES, attention_stem_schematic
from sasa_tutorial.teaching.augmented_convolution_figures import (
    augmented_convolution_schematic,
    one_factor_or_many,
    two_questions,
)
from sasa_tutorial.teaching.bench_figures import growth_of_time, layer_times
from sasa_tutorial.teaching.beside import Beside
from sasa_tutorial.teaching.bug_figures import cost_of_bugs, curves_of_suspects, kill_matrix, suspects
from sasa_tutorial.teaching.checks import check_answer, expect_error
from sasa_tutorial.teaching.convolution_figures import (
    kernels_on_a_photograph,
    move_and_answer,
    receptive_fields,
    stems_compared,
    windows_of,
    windows_times_weights,
)
from sasa_tutorial.teaching.convolution_schematic import CONVOLUTION_FRAMES, convolution_schematic
from sasa_tutorial.teaching.explorer import explorer
from sasa_tutorial.teaching.external_attention_figures import hues_and_images, pictures_and_maps, slots_of_hues
from sasa_tutorial.teaching.external_attention_schematic import EXTERNAL_ATTENTION_FRAMES, external_attention_schematic
from sasa_tutorial.teaching.figures import as_image, images_in_rows, matrix, training_curves
from sasa_tutorial.teaching.first_look_figures import (
    asked_by_one_pixel,
    guesses_of_networks,
    lesson_accuracies,
    marked_twins,
)
from sasa_tutorial.teaching.global_attention_figures import answers_to_shuffled, weights_and_one_row
from sasa_tutorial.teaching.global_attention_schematic import (
    GLOBAL_ATTENTION_FRAMES,
    global_attention_schematic,
    toy_maps,
)
from sasa_tutorial.teaching.hunt import bug_named, check_identity, score, survived
from sasa_tutorial.teaching.local_attention_figures import logits_and_weights, same_neighbours
from sasa_tutorial.teaching.local_attention_schematic import LOCAL_ATTENTION_FRAMES, local_attention_schematic
from sasa_tutorial.teaching.network_figures import (
    cost_and_accuracy,
    cost_of_groups,
    growth,
    matches_over_constants,
    printed_and_counted,
)
from sasa_tutorial.teaching.network_schematic import NETWORK_FRAMES, network_schematic, places_to_stride
from sasa_tutorial.teaching.overview_figures import accuracy_bars, predictions, series_map
from sasa_tutorial.teaching.paying_off import learn, share_right
from sasa_tutorial.teaching.photograph import best_guesses, entering, photograph
from sasa_tutorial.teaching.recorded import recorded_results
from sasa_tutorial.teaching.relative_offsets_figures import (
    halves_make_a_square,
    kernels_of_colours,
    logit_parts,
    moved_differences,
    sharper_and_sharper,
)
from sasa_tutorial.teaching.relative_offsets_schematic import OFFSETS_FRAMES, relative_offsets_schematic
from sasa_tutorial.teaching.roofline_figures import moved_and_held, roofline, shared_loads, time_shares, walks_to_memory
from sasa_tutorial.teaching.shifts_schematic import SHIFTS_FRAMES, shifts_schematic
from sasa_tutorial.teaching.showing import show
from sasa_tutorial.teaching.skew_figures import SKEW_FRAMES, skew_steps
from sasa_tutorial.teaching.style import ACCENT, MECHANISM_COLOURS, POSITIVE_MAP, QUIET, SIGNED_MAP, use_style
from sasa_tutorial.teaching.trained_figures import (
    maps_of_queries,
    maps_of_two_queries,
    preferences_of_heads,
    windows_of_queries,
)
from sasa_tutorial.teaching.twins import draw_twins, twins_side_by_side
from sasa_tutorial.teaching.watching import answer_and_shapes
