"""Texts of many kinds, written for these tests, that a summary is checked on."""

NEWS_ZH = (
    "市交通委员会昨天宣布，地铁十二号线将于明年三月一日全线通车。这条线路全长三十八公里，共设"
    "二十六个车站，连接老城区与南部的科技园区。\n"
    "\n"
    "据介绍，工程历时五年，总投资约二百一十亿元。建设期间，施工单位在穿越河道的区间采用了新型"
    "盾构机，把地面沉降控制在三毫米以内。“我们在最难的一段用了整整十四个月，”项目总工程师李"
    "青说。\n"
    "\n"
    "委员会表示，通车以后，从老城区到科技园区的时间将从七十分钟缩短到三十五分钟，预计每天运送"
    "乘客四十万人次。票价沿用现行标准。沿线的十七条公交线路也会调整，具体方案将在一月公布，并"
    "听取市民意见。\n"
    "\n"
    "有居民担心早高峰的换乘站会过于拥挤。对此，委员会回应说，三个换乘站都加宽了站台，并且会在"
    "高峰时段增开短线列车。"
)

CONTRACT_ZH = (
    "软件服务合同\n"
    "\n"
    "第一条 甲方委托乙方开发并维护客户关系管理系统，服务期限自二〇二四年一月一日起至二〇二五"
    "年十二月三十一日止。\n"
    "第二条 服务费用总额为人民币六十万元，甲方应当在合同签订后十个工作日内支付百分之四十，系"
    "统验收合格后支付百分之五十，余款在质保期满后支付。\n"
    "第三条 乙方应当在二〇二四年六月三十日之前完成系统的交付。每逾期一日，乙方应当向甲方支付"
    "合同总额千分之一的违约金；逾期超过三十日的，甲方有权解除合同。\n"
    "第四条 双方对在履行合同过程中知悉的对方商业秘密负有保密义务，保密期限为合同终止后三年。\n"
    "第五条 系统的著作权自甲方付清全部费用之日起归甲方所有，乙方保留其原有工具和通用组件的权"
    "利。\n"
    "第六条 因履行本合同发生的争议，双方应当协商解决；协商不成的，任何一方都可以向甲方所在地"
    "的人民法院提起诉讼。"
)

MINUTES_ZH = (
    "产品周会纪要\n"
    "时间：周二上午十点\n"
    "参加：王芳、赵磊、陈静、刘洋\n"
    "\n"
    "一、上周进展\n"
    "- 登录页的改版已经上线，投诉减少了一半。\n"
    "- 支付接口的压力测试还没有完成，原因是测试环境周四宕机了六个小时。\n"
    "二、讨论\n"
    "- 赵磊建议把新的搜索功能推迟两周，因为索引服务的内存占用太高。\n"
    "- 陈静认为可以先对百分之五的用户开放，边用边看。\n"
    "三、决定\n"
    "- 会议决定：搜索功能先对百分之五的用户开放，由陈静负责，下周五之前给出数据。\n"
    "- 支付接口的压力测试必须在周四之前完成，由刘洋负责。\n"
    "- 测试环境的迁移由王芳跟进，预算不超过三万元。\n"
    "下次会议：下周二上午十点。"
)

NEWS_EN = (
    "The harbour authority of Port Elin will replace its diesel cranes with electric ones by "
    "2028, it said on Monday. The programme covers 14 cranes and will cost about $86 million, "
    "of which the state pays 40 percent.\n"
    "\n"
    "Diesel cranes cause most of the noise that residents of the old town complain about, "
    "according "
    "to a study by Dr. Hanna Weiss of the local university. The study measured up to 71 decibels "
    "at night in streets near the container terminal. Electric cranes are roughly 9.5 decibels "
    "quieter.\n"
    "\n"
    'Shipping companies welcomed the plan but asked for a timetable. "We can live with a year '
    'of construction, not with three," said Mr. Paul Okafor, who runs a freight line with six '
    "weekly departures. The authority answered that no more than two cranes would be out of "
    "service "
    "at the same time. Work on the power supply begins in May, and the first electric crane is "
    "due in autumn."
)

CONTRACT_EN = (
    "1. Term. This Agreement begins on the date of the last signature and continues for "
    "twenty-four "
    "months, unless it is terminated earlier under clause 6.\n"
    "2. Services. The Supplier shall provide hosting, monitoring and support for the Platform "
    "as set out in Schedule A, and shall keep the Platform available for 99.5 percent of each "
    "calendar month.\n"
    "3. Fees. The Customer shall pay the fees within thirty days of the date of each invoice. "
    "Late amounts bear interest at 4 percent a year.\n"
    "4. Confidentiality. Each party shall keep the other party's confidential information secret "
    "and shall use it only to perform this Agreement. This obligation survives for five years.\n"
    "5. Liability. Neither party is liable for indirect loss. Each party's total liability is "
    "limited to the fees paid in the twelve months before the claim.\n"
    "6. Termination. Either party may terminate this Agreement if the other party commits a "
    "material "
    "breach and does not remedy it within thirty days of written notice."
)

MAIL_EN = (
    "Hi all,\n"
    "\n"
    "thanks for joining the call yesterday. As discussed, the migration of the\n"
    "customer database to the new cluster is now planned for the night of\n"
    "Saturday, 14 June. We expect that the shop will be read-only for about\n"
    "forty minutes, and that nothing will be offline.\n"
    "\n"
    "Before then, every team has to check that its jobs work with the new\n"
    "connection strings. Marta has written a short guide, which you will find in\n"
    "the wiki. Please tell me by Wednesday if your jobs are not ready; otherwise\n"
    "we will assume that they are.\n"
    "\n"
    "If the copy takes longer than two hours, we go back to the old cluster and\n"
    "try again a week later. The decision will be made by Tom, who is on call\n"
    "that night. I will write to you on Sunday morning with the result.\n"
    "\n"
    "Best,\n"
    "Ingrid"
)

LIST_MIXED = (
    "发布清单 Release checklist v2.3\n"
    "1. 更新 CHANGELOG，and bump the version in pyproject.toml\n"
    "2. 在 staging 环境跑一遍回归测试，重点看 login 和 payment\n"
    "3. Notify the support team two days in advance\n"
    "4. 数据库迁移脚本需要 DBA 审核，审核人：周敏\n"
    "5. Freeze the main branch on Thursday 18:00\n"
    "6. 发布后观察监控三十分钟，error rate 超过 1% 就回滚\n"
    "7. Write the release notes in English and Chinese\n"
    "8. 关闭已完成的 issue，并在群里通知大家"
)

ONE_SENTENCE_ZH = (
    "虽然今年上半年公司的销售额比去年同期增长了百分之十二，但是由于原材料价格持续上涨、海外运"
    "费居高不下，再加上新工厂的折旧从四月起计入成本，所以净利润反而下降了百分之八，管理层因此"
    "决定从七月开始上调部分产品的价格，并且暂停招聘。"
)

ONE_SENTENCE_EN = (
    "Although the committee had asked for three independent estimates before the end of March, "
    "only one firm had answered by the time the budget was due, which left the members with the "
    "choice of either trusting a single figure that nobody could check or postponing the repair "
    "of the roof for another year, and in the end they chose to wait."
)

NO_PUNCTUATION_ZH = (
    "昨天我去了医院看牙医生说智齿发炎要先吃三天消炎药再来拔\n"
    "然后我下午请了假在家休息顺便把上个月的报销单整理好了一共两千三百元\n"
    "老板晚上发消息说客户的会议改到周五下午让我准备演示文稿\n"
    "我打算明天上午先写大纲下午找小李要数据周四之前做完\n"
    "周末想带孩子去动物园如果下雨就去科技馆"
)

NO_PUNCTUATION_EN = (
    "so i talked to the landlord again and he said the heating will be fixed next week but he "
    "said that last month too and the people upstairs have the same problem so we want to write "
    "a letter together and ask for a lower rent until it works and my sister who is a lawyer "
    "said that we should keep a list of the days and the temperature in the rooms"
)

DIALOG_ZH = (
    "“你看过那份报告了吗？”老张问。小林摇摇头：“还没有，昨天一直在处理客户的投诉。”老张叹"
    "了口气，把报告放在桌上。报告说，三号生产线的次品率连续两个月超过了百分之五，主要原因是一"
    "台注塑机的温度控制失灵。\n"
    "\n"
    "小林翻了几页，皱起眉头。“换一台新的注塑机要多少钱？”“八十万，”老张说，“修的话十五万，"
    "但是供应商说只能保证用一年。”两个人都沉默了。最后他们决定先修理注塑机，同时向总部申请明"
    "年的更新预算。次品率的数据每周上报一次，直到连续四周低于百分之二为止。"
)

ALL = {
    name.lower(): text
    for name, text in list(globals().items())
    if name.isupper() and isinstance(text, str)
}
