from .profile import plot_profile as plot_profile
from .profiles import plot_profiles as plot_profiles
from .saving import save_figure as save_figure
from .score_matrix import plot_score_matrix as plot_score_matrix
from .style import COLUMN_WIDTH as COLUMN_WIDTH
from .style import PAGE_WIDTH as PAGE_WIDTH
from .style import paper_style as paper_style
