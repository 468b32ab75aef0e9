"""Parameters of each recipe's network, and its operations for one image.

Counting takes seconds a network, so `segattn list` reads this table instead. `tools/count_costs.py` writes it, and
the tests count anew.
"""

from __future__ import annotations

from typing import NamedTuple


class Cost(NamedTuple):
    """Of one network.

    Attributes:
        parameters: all of them, also of parts that only training runs.
        macs: multiply-accumulates of convolutions, linear layers and matrix products for one image.
        size: height and width of that image, the recipe's `data.count_at`.
    """

    parameters: int
    macs: int
    size: tuple[int, int]


COSTS: dict[str, Cost] = {
    "attanet_light_cityscapes": Cost(1_004_768, 5_466_755_072, (512, 1024)),
    "attanet_r18_cityscapes": Cost(12_789_568, 22_853_730_304, (512, 1024)),
    "attanet_df2_cityscapes": Cost(19_087_264, 22_438_494_208, (512, 1024)),
    "attanet_light_camvid": Cost(1_003_232, 1_784_094_976, (360, 480)),
    "attanet_light_camvid_long": Cost(1_003_232, 1_784_094_976, (360, 480)),
    "attanet_r18_camvid": Cost(12_787_520, 7_666_104_064, (360, 480)),
    "attanet_lite0_camvid": Cost(4_015_360, 6_640_713_184, (360, 480)),
    "attanet_light_synthetic": Cost(1_004_768, 5_466_755_072, (512, 1024)),
    "attanet_light_camvid_distilled": Cost(1_003_232, 1_784_094_976, (360, 480)),
    "danet_r101_cityscapes": Cost(66_454_779, 2_837_782_200_320, (1024, 2048)),
    "danet_r50_cityscapes": Cost(47_462_651, 2_217_159_426_048, (1024, 2048)),
    "danet_r101_pascal_context": Cost(66_516_339, 251_359_027_200, (480, 480)),
    "danet_r101_pascal_context60": Cost(66_517_878, 251_360_870_400, (480, 480)),
    "danet_r101_coco_stuff10k": Cost(66_688_707, 251_565_465_600, (480, 480)),
    "danet_mmseg_r50_cityscapes_40k": Cost(49_846_574, 2_227_175_424_000, (1024, 2048)),
    "danet_mmseg_r101_cityscapes_40k": Cost(68_838_702, 2_847_798_198_272, (1024, 2048)),
    "danet_mmseg_r50_cityscapes_769_40k": Cost(49_846_574, 2_227_175_424_000, (1024, 2048)),
    "danet_mmseg_r101_cityscapes_769_40k": Cost(68_838_702, 2_847_798_198_272, (1024, 2048)),
    "danet_mmseg_r50_cityscapes_80k": Cost(49_846_574, 2_227_175_424_000, (1024, 2048)),
    "danet_mmseg_r101_cityscapes_80k": Cost(68_838_702, 2_847_798_198_272, (1024, 2048)),
    "danet_mmseg_r50_cityscapes_769_80k": Cost(49_846_574, 2_227_175_424_000, (1024, 2048)),
    "danet_mmseg_r101_cityscapes_769_80k": Cost(68_838_702, 2_847_798_198_272, (1024, 2048)),
    "danet_mmseg_r50_ade20k_80k": Cost(50_081_850, 211_025_920_000, (512, 512)),
    "danet_mmseg_r101_ade20k_80k": Cost(69_073_978, 288_603_766_784, (512, 512)),
    "danet_mmseg_r50_ade20k_160k": Cost(50_081_850, 211_025_920_000, (512, 512)),
    "danet_mmseg_r101_ade20k_160k": Cost(69_073_978, 288_603_766_784, (512, 512)),
    "danet_mmseg_r50_voc2012_20k": Cost(49_850_166, 210_755_387_392, (512, 512)),
    "danet_mmseg_r101_voc2012_20k": Cost(68_842_294, 288_333_234_176, (512, 512)),
    "danet_mmseg_r50_voc2012_40k": Cost(49_850_166, 210_755_387_392, (512, 512)),
    "danet_mmseg_r101_voc2012_40k": Cost(68_842_294, 288_333_234_176, (512, 512)),
    "acfnet_ecanet101_cityscapes": Cost(108_992_348, 3_578_465_241_856, (1024, 2048)),
    "acfnet_ecanet101_cityscapes_ohem06": Cost(108_992_348, 3_578_465_241_856, (1024, 2048)),
    "acfnet_ecanet101_cityscapes_released": Cost(108_992_348, 3_578_465_241_856, (1024, 2048)),
    "acfnet_r101_cityscapes": Cost(108_992_249, 3_578_465_144_320, (1024, 2048)),
    "light_ham_d256_van_tiny_ade20k": Cost(4_208_630, 6_281_625_600, (512, 512)),
    "light_ham_van_tiny_ade20k": Cost(4_866_134, 11_086_397_440, (512, 512)),
    "light_ham_van_small_ade20k": Cost(14_707_286, 21_147_680_768, (512, 512)),
    "light_ham_van_base_ade20k": Cost(27_423_958, 34_195_898_368, (512, 512)),
    "light_ham_van_large_ade20k": Cost(45_611_094, 54_741_303_296, (512, 512)),
    "light_ham_van_huge_ade20k": Cost(61_128_662, 71_556_136_960, (512, 512)),
    "ham_van_tiny_ade20k": Cost(11_940_236, 50_578_849_792, (512, 512)),
    "ham_van_small_ade20k": Cost(24_168_172, 100_362_354_688, (512, 512)),
    "ham_van_base_ade20k": Cost(36_884_844, 153_247_285_248, (512, 512)),
    "ham_van_large_ade20k": Cost(55_071_980, 227_319_218_176, (512, 512)),
    "upernet_van_tiny_ade20k": Cost(32_133_004, 214_336_208_896, (512, 512)),
    "upernet_van_small_ade20k": Cost(43_836_652, 223_651_299_328, (512, 512)),
    "upernet_van_base_ade20k": Cost(56_553_324, 236_699_516_928, (512, 512)),
    "upernet_van_large_ade20k": Cost(74_740_460, 257_244_921_856, (512, 512)),
    "fpn_van_tiny_ade20k": Cost(7_984_374, 25_699_221_504, (512, 512)),
    "fpn_van_small_ade20k": Cost(17_615_446, 34_479_276_032, (512, 512)),
    "fpn_van_base_ade20k": Cost(30_332_118, 47_527_493_632, (512, 512)),
    "fpn_van_large_ade20k": Cost(48_519_254, 68_072_898_560, (512, 512)),
    "light_ham_d256_van_tiny_camvid": Cost(4_172_907, 4_089_801_600, (360, 480)),
    "upernet_van_b0_ade20k": Cost(32_133_004, 857_325_174_784, (512, 2048)),
    "upernet_van_b1_ade20k": Cost(43_836_652, 894_565_875_712, (512, 2048)),
    "upernet_van_b2_ade20k": Cost(56_553_324, 946_758_746_112, (512, 2048)),
    "upernet_van_b3_ade20k": Cost(74_740_460, 1_028_940_365_824, (512, 2048)),
    "upernet_van_b4_ade20k": Cost(90_258_028, 1_096_199_700_480, (512, 2048)),
    "upernet_van_b4_22k_ade20k": Cost(90_258_028, 1_096_199_700_480, (512, 2048)),
    "upernet_van_b5_22k_ade20k": Cost(121_890_188, 1_203_539_017_728, (512, 2048)),
    "upernet_van_b6_22k_ade20k": Cost(231_481_580, 1_654_335_995_904, (512, 2048)),
    "upernet_agent_swin_t_ade20k": Cost(60_556_472, 953_969_043_456, (512, 2048)),
    "upernet_agent_swin_s_ade20k": Cost(81_320_192, 1_042_546_438_656, (512, 2048)),
    "upernet_agent_swin_b_ade20k": Cost(121_606_588, 1_195_538_489_344, (512, 2048)),
    "fpn_agent_pvt_t_ade20k": Cost(15_323_998, 146_628_149_248, (512, 2048)),
    "fpn_agent_pvt_s_ade20k": Cost(24_388_712, 211_012_288_512, (512, 2048)),
    "fpn_agent_pvt_m_ade20k": Cost(39_675_392, 320_876_838_912, (512, 2048)),
    "fpn_agent_pvt_l_ade20k": Cost(52_491_826, 433_415_520_256, (512, 2048)),
    "fpn_agent_pvt_t_camvid": Cost(15_306_067, 23_825_564_160, (360, 480)),
}
