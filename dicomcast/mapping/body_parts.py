"""Body parts that PS3.16 Annex L codes under a term that is no keyword of pydicom's context groups."""

from __future__ import annotations

__all__ = ["ANNEX_L"]

# Body Part Examined, SNOMED CT concept, meaning: as Table L-1 has them, its misspelt terms too.
# Terms without a concept (the fetal ones) are left out, and so are those that CID 4031 and CID 4 have under the
# same name with the same concept.
_TABLE = """
3RDVENTRICLE 49841001 Third ventricle
4THVENTRICLE 35918002 Fourth ventricle
ABDOMENPELVIS 818982008 Abdomen and Pelvis
ACA 60176003 Anterior cerebral artery
ACJOINT 85856004 Acromioclavicular joint
ADRENAL 23451007 Adrenal gland
AMNIOTICFLUID 77012006 Amniotic fluid
ANKLE 70258002 Ankle joint
ANTCARDIACV 194996006 Anterior cardiac vein
ANTCOMMA 8012006 Anterior communicating artery
ANTECUBITALV 128553008 Antecubital vein
ANTSPINALA 17388009 Anterior spinal artery
ANTTIBIALA 68053000 Anterior tibial artery
ANUSRECTUMSIGMD 110612005 Anus, rectum and sigmoid colon
APPENDIX 66754008 Appendix
ARTERY 51114001 Artery
ASCAORTA 54247002 Ascending aorta
ASCENDINGCOLON 9040008 Ascending colon
AXILLARYA 67937003 Axillary Artery
AXILLARYV 68705008 Axillary vein
BASILARA 59011009 Basilar artery
BLADDERURETHRA 110837003 Bladder and urethra
BRACHIALA 17137000 Brachial artery
BRACHIALV 20115005 Brachial vein
BULB 21479005 Carotid bulb
CALF 53840002 Calf of leg
CARDIOVASCSYS 113257007 Cardiovascular system
CAROTID 69105007 Carotid Artery
CCA 32062004 Common carotid artery
CELIACA 57850000 Celiac artery
CEPHALICV 20699002 Cephalic vein
CEREBHEMISPHERE 372073000 Cerebral hemisphere
CEREBRALA 88556005 Cerebral artery
CFA 181347005 Common femoral artery
CFV 397363009 Common femoral vein
CHESTABDOMEN 416550000 Chest and Abdomen
CHESTABDPELVIS 416775004 Chest, Abdomen and Pelvis
CHOROIDPLEXUS 80621003 Choroid plexus
COMILIACA 73634005 Common iliac artery
COMILIACV 46027005 Common iliac vein
CSPINE 122494005 Cervical spine
CTSPINE 1217257000 Cervico-thoracic spine
CULDESAC 53843000 Rectouterine pouch
DESCAORTA 281130003 Descending aorta
DESCENDINGCOLON 32622004 Descending colon
EAC 84301002 External auditory canal
ECA 22286001 External carotid artery
ELBOW 16953009 Elbow joint
ENDOMETRIUM 2739003 Endometrium
ENDONASOPHARYNYX 18962004 Endo-nasopharyngeal
EPIDIDYMIS 87644002 Epididymis
EPIGASTRIC 27947004 Epigastric region
EXTILIACA 113269004 External iliac artery
EXTILIACV 63507001 External iliac vein
EXTJUGV 71585003 External jugular vein
FACIALA 23074001 Facial artery
FEMORALA 7657000 Femoral artery
FEMORALV 83419000 Femoral vein
FONTANEL 79361005 Fontanel of skull
GASTRICV 110568007 Gastric vein
GENICULARA 128559007 Genicular artery
GESTSAC 300571009 Gestational sac
GLUTEAL 46862004 Gluteal region
GSV 60734001 Great saphenous vein
HEADNECK 774007 Head and Neck
HEPATICA 76015000 Hepatic artery
HEPATICV 8993003 Hepatic vein
HIP 24136001 Hip joint
HYPOGASTRIC 11708003 Hypogastric region
IAC 361078006 Internal Auditory Canal
ICA 86117002 Internal carotid artery
ILIACA 10293006 Iliac artery
ILIACV 244411005 Iliac vein
INFMESA 33795007 Inferior mesenteric artery
INFVENACAVA 64131007 Inferior vena cava
INGUINAL 26893007 Inguinal region
INNOMINATEA 12691009 Innominate artery
INNOMINATEV 8887007 Innominate vein
INTILIACA 90024005 Internal iliac artery
INTJUGULARV 12123001 Internal jugular vein
INTMAMMARYA 69327007 Internal mammary artery
JAW 661005 Jaw region
KIDNEY 64033007 Kidney
LACRIMALA 59749000 Lacrimal artery
LATRIUM 82471001 Left atrium
LATVENTRICLE 66720007 Lateral Ventricle
LFEMORALA 113270003 Left femoral artery
LHEPATICV 273202007 Left hepatic vein
LHYPOCHONDRIAC 133945003 Left hypochondriac region
LINGUALA 113264009 Lingual artery
LINGUINAL 85119005 Left inguinal region
LLQ 68505006 Left lower quadrant of abdomen
LLUMBAR 1017210004 Left lumbar region
LOWERTRUNK 63337009 Lower trunk
LPORTALV 70253006 Left portal vein
LPULMONARYA 50408007 Left pulmonary artery
LSPINE 122496007 Lumbar spine
LSSPINE 1217253001 Lumbo-sacral spine
LSUPPULMONARYV 43863001 Superior left pulmonary vein
LUMBAR 52612000 Lumbar region
LUMBARA 34635009 Lumbar artery
LUMEN 91747007 Lumen of blood vessel
LUQ 86367003 Left upper quadrant of abdomen
LVENTRICLE 87878005 Left ventricle
MASTOID 59066005 Mastoid bone
MCA 17232002 Middle cerebral artery
MESENTRICA 86570000 Mesenteric artery
MESENTRICV 128583004 Mesenteric vein
MIDHEPATICV 273099000 Middle hepatic vein
MORISONSPOUCH 243977002 Morisons pouch
NECKCHEST 417437006 Neck and Chest
NECKCHESTABDOMEN 416152001 Neck, Chest and Abdomen
NECKCHESTABDPELV 416319003 Neck, Chest, Abdomen and Pelvis
OCCIPTALV 32114007 Occipital vein
OCCPITALA 31145008 Occipital artery
OPHTHALMICA 53549008 Ophthalmic artery
ORBIT 363654007 Orbital structure
PANCBILEDUCT 110621006 Pancreatic duct and bile duct systems
PAROTID 45289007 Parotid gland
PCA 70382005 Posterior cerebral artery
PELVISLOWEXTREMT 1231522001 Pelvis and lower extremities
PENILEA 282044005 Penile artery
PERONEALA 8821006 Peroneal artery
PHARYNXLARYNX 312535008 Pharynx and larynx
PLACENTA 78067005 Placenta
POPLITEALA 43899006 Popliteal artery
POPLITEALV 56849005 Popliteal vein
PORTALV 32764006 Portal vein
POSCOMMA 43119007 Posterior communicating artery
POSTIBIALA 13363002 Posterior tibial artery
PROFFEMA 31677005 Profunda femoris artery
PROFFEMV 23438002 Profunda femoris vein
PULMONARYA 81040000 Pulmonary artery
PULMONARYV 122972007 Pulmonary vein
RADIALA 45631007 Radial artery
RADIUS 62413002 Radius
RADIUSULNA 110535000 Radius and ulna
RATRIUM 73829009 Right atrium
RENALA 2841007 Renal artery
RENALV 56400007 Renal vein
RFEMORALA 69833005 Right femoral artery
RHEPATICV 272998002 Right hepatic vein
RHYPOCHONDRIAC 133946002 Right hypochondriac region
RINGUINAL 37117007 Right inguinal region
RLQ 48544008 Right lower quadrant of abdomen
RLUMBAR 1017211000 Right lumbar region
RPORTALV 73931004 Right portal vein
RPULMONARYA 78480002 Right pulmonary artery
RSUPPULMONARYV 8629005 Superior right pulmonary vein
RUQ 50519007 Right upper quadrant of abdomen
RVENTRICLE 53085002 Right ventricle
SAPHENOUSV 362072009 Saphenous vein
SCJOINT 7844006 Sternoclavicular joint
SELLA 42575006 Sella turcica
SEMVESICLE 64739004 Seminal vesicle
SESAMOID 58742003 Sesamoid bones of foot
SFA 181349008 Superficial femoral artery
SFJ 128587003 Saphenofemoral junction
SFV 397364003 Superficial femoral vein
SIGMOID 60184004 Sigmoid colon
SIJOINT 39723000 Sacroiliac joint
SMA 42258001 Superior mesenteric artery
SPLENICA 22083002 Splenic artery
SPLENICV 35819009 Splenic vein
SSPINE 54735007 Sacrum
SUBCLAVIANA 36765005 Subclavian artery
SUBCLAVIANV 9454009 Subclavian vein
SUBCOSTAL 19695001 Subcostal
SUBMANDIBULAR 54019009 Submandibular gland
SUPRACLAVICULAR 77621008 Supraclavicular region of neck
SUPRAPUBIC 11708003 Suprapubic region
SUPTHYROIDA 72021004 Superior thyroid artery
SVC 48345005 Superior vena cava
THALAMUS 42695009 Thalamus
TIBIA 12611008 Tibia
TIBIAFIBULA 110536004 Tibia and fibula
TLSPINE 1217256009 Thoraco-lumbar spine
TMJ 53620006 Temporomandibular joint
TRACHEABRONCHUS 110726009 Trachea and bronchus
TRANSVERSECOLON 485005 Transverse colon
TRUNK 22943007 Trunk
TSPINE 122495006 Thoracic spine
ULNA 23416004 Ulna
ULNARA 44984001 Ulnar artery
UMBILICAL 90290004 Umbilical region
UMBILICALA 50536004 Umbilical artery
UMBILICALV 284639000 Umbilical vein
UPPERTRUNK 67734004 Upper trunk
UPRURINARYTRACT 431491007 Upper urinary tract
VAGINA 76784001 Vagina
VEIN 29092000 Vein
VERTEBRALA 85234005 Vertebral artery
WHOLEBODY 38266002 Entire body
WRIST 74670003 Wrist joint
"""

ANNEX_L: dict[str, tuple[str, str]] = {
    term: (code, meaning) for term, code, meaning in (row.split(" ", 2) for row in _TABLE.strip().splitlines())
}
